-- A raw control file the agent can read (a piece it cannot), and the readable form.
alter database backup controlfile to '{{area}}/ctl/{{run}}.ctl';
alter database backup controlfile to trace as '{{area}}/ctl/{{run}}.sql' noresetlogs;
@if spfile: create pfile='{{area}}/ctl/{{run}}.ora' from spfile;
