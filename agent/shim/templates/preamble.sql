-- Settings every script starts with: one row, one line, errors end the script.
whenever sqlerror exit failure
whenever oserror exit failure
set echo off
set heading off
set pagesize 0
set feedback off
set linesize 32767
set trimspool on
set trimout on
set verify off
set define off
set tab off
