alter database open read only;
@if cdb: alter pluggable database all open read only;
select 'EC|opened|'||open_mode||'|'||to_char(checkpoint_change#) from v$database;
select 'EC|header|'||file#||'|'||to_char(checkpoint_change#)||'|'||fuzzy||'|'||recover||'|'||error from v$datafile_header order by file#;
