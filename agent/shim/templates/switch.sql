-- The log switch of a run: SCN and time noted first, then every open thread's log is archived.
@if cdb: alter session set container=CDB$ROOT;
select 'EC|now|'||to_char(current_scn)||'|'||to_char(systimestamp,'YYYY-MM-DD HH24:MI:SS TZH:TZM') from v$database;
alter system archive log current;
select 'EC|thread|'||thread#||'|'||status||'|'||enabled||'|'||sequence#||'|'||to_char(enable_change#)||'|'||to_char(disable_change#)||'|'||last_redo_sequence#||'|'||to_char(last_redo_change#)||'|'||instance from v$thread order by thread#;
