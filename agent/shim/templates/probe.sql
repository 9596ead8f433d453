-- Which instance, release and edition answers: decides which columns exist.
select 'EC|instance|'||instance_name||'|'||host_name||'|'||version||'|'||status||'|'||thread# from v$instance;
select 'EC|banner|'||banner from v$version;
