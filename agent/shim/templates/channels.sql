-- Server processes of an earlier run that still hold a channel (set command id marks them).
select 'EC|channel|'||inst_id||'|'||sid||'|'||serial#||'|'||client_info from gv$session where client_info like '%evercopy:%';
