-- Level 1 pieces of our tag and control file pieces of ours that still exist: candidates for deletion by handle.
select 'EC|piece|'||p.recid||'|'||p.tag||'|'||to_char(p.completion_time,'YYYY-MM-DD HH24:MI:SS')||'|'||p.handle from v$backup_piece p where p.status = 'A' and p.tag in ('{{tag}}','{{cf_tag}}') order by p.recid;
