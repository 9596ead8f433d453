startup nomount pfile='{{pfile}}'
