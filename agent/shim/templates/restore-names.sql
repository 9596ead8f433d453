-- Every file name the restored control file carries: all must lead nowhere on this host.
select 'EC|name|datafile|'||file#||'|'||name from v$datafile order by file#;
select 'EC|name|tempfile|'||file#||'|'||name from v$tempfile order by file#;
select 'EC|name|logfile|'||group#||'|'||member from v$logfile order by group#, member;
select 'EC|name|controlfile|0|'||name from v$controlfile;
select 'EC|name|tracking|0|'||filename from v$block_change_tracking where filename is not null;
select 'EC|state|'||flashback_on||'|'||open_mode||'|'||dbid from v$database;
select 'EC|trackstate|'||status from v$block_change_tracking;
select 'EC|incarnation|'||incarnation#||'|'||to_char(resetlogs_change#)||'|'||resetlogs_id||'|'||to_char(prior_resetlogs_change#)||'|'||prior_incarnation#||'|'||status from v$database_incarnation order by incarnation#;
