-- What setup looks at before it proposes anything.
select 'EC|keep|'||value from v$parameter where name = 'control_file_record_keep_time';
select 'EC|snapcf|'||value from v$rman_configuration where name = 'SNAPSHOT CONTROLFILE NAME';
select 'EC|rmanconf|'||name||'|'||value from v$rman_configuration order by name;
select 'EC|fra|'||value from v$parameter where name = 'db_recovery_file_dest';
select 'EC|create_dest|'||value from v$parameter where name = 'db_create_file_dest';
