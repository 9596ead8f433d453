/* Oracle's error codes that operators meet here: what each means and what to do next. */
#include "agent/shim/rmanlog.h"

#include "agent/base/str.h"

struct code_row {
    const char *code, *meaning, *action;
};

#define SAME NULL /* as the row above */

/* Source: Oracle Database Error Messages, and what the codes mean for image copies on NFS. */
static const struct code_row rows[] = {
    {"ORA-19504", "cannot create a file",
     "check path, permissions and whether the export is writable"},
    {"ORA-27040", SAME, SAME},
    {"ORA-19502", "writing failed", "check free space and the NFS server"},
    {"ORA-27072", SAME, SAME},
    {"ORA-27061", SAME, SAME},
    {"ORA-27063", SAME, SAME},
    {"ORA-19505", "a file has vanished",
     "check that the area is mounted; do not crosscheck before"},
    {"ORA-27037", SAME, SAME},
    {"ORA-27041", "a file cannot be opened", "check that the area is mounted, and permissions"},
    {"ORA-17500", "Direct NFS reports an error",
     "check the NFS server; look for leftover dot files"},
    {"ORA-19809", "the recovery area is full", "free the recovery area or enlarge its limit"},
    {"ORA-19804", SAME, SAME},
    {"ORA-19815", SAME, SAME},
    {"ORA-00257", "the archiver is stuck and the database waits",
     "free its destination now; ours should be OPTIONAL"},
    {"ORA-27054", "Oracle refuses the mount options",
     "mount with hard, rsize and wsize of 32K or more"},
    {"ORA-19870", "a backup piece cannot be read", "read the codes below it"},
    {"ORA-19587", "reading a backup piece failed", "check the NFS server, then run again"},
    {"ORA-19599", "a backup piece is corrupt", "delete that piece and run the backup again"},
    {"ORA-19566", "more corrupt blocks than allowed in a datafile",
     "validate the datafile and repair it; do not raise MAXCORRUPT"},
    {"ORA-19625", "an archived log of the repository is not on disk",
     "bring it back or take a new backup: recovery across it is not possible"},
    {"RMAN-06059", SAME, SAME},
    {"RMAN-06169", "a datafile's header cannot be read", "check the datafile and its storage"},
    {"RMAN-06056", "a datafile cannot be read", "bring it online or set skip for it"},
    {"ORA-01157", SAME, SAME},
    {"RMAN-06094", "a datafile must be restored first", "restore it, then recover"},
    {"RMAN-06023", "no backup or copy to restore from", "choose another snapshot"},
    {"RMAN-06026", SAME, SAME},
    {"RMAN-06025", "no backup of an archived log", "look for the log in another snapshot"},
    {"RMAN-06053", "an archived log is missing: a gap", "choose a target before the gap"},
    {"RMAN-06054", SAME, SAME},
    {"RMAN-06556", "the target is older than a copy", "choose an older snapshot or a later target"},
    {"ORA-01152", SAME, SAME},
    {"ORA-01195", "a datafile needs more redo to be consistent", "recover further, then open"},
    {"ORA-01194", SAME, SAME},
    {"ORA-01113", SAME, SAME},
    {"RMAN-20207", "the target lies before a resetlogs", "reset the database to its incarnation"},
    {"ORA-19693", SAME, SAME},
    {"ORA-19906", "the recovery target's incarnation changed",
     "name the incarnation and run again"},
    {"ORA-39889", "the target lies in a gap of the PDB's incarnation", "choose another target"},
    {"RMAN-08650", "the control file is newer than a dropped file",
     "use the snapshot's control file"},
    {"ORA-01555", "a query outlived its undo", "run again when the database is less busy"},
    {"ORA-01578", "a block is corrupt", "validate and repair the datafile"},
    {"ORA-26040", "a block was loaded with NOLOGGING", "its data cannot be recovered; reload it"},
    {"ORA-00230", "the snapshot control file is in use", "wait for the other backup to end"},
    {"ORA-00245", "the snapshot control file is not on shared storage", "run setup for its place"},
    {"ORA-19755", "the change tracking file cannot be opened",
     "disable change tracking or fix its path"},
    {"ORA-19751", "the change tracking file cannot be created", "check path and permissions"},
    {"ORA-01031", "privileges are missing", "check that the operating system user is in group dba"},
    {"ORA-01017", "wrong user or password", "check the credential"},
    {"ORA-12514", "the listener does not know the service", "check the TNS name and the instance"},
    {"ORA-12541", "no listener", "start it or check the port"},
    {"ORA-12545", "the host cannot be reached", "check the name in tnsnames"},
    {"ORA-12154", "the TNS name is not known", "check tnsadmin and tnsnames.ora"},
    {"ORA-01034", "the instance is not running", "start it, or check the sid"},
    {"ORA-27101", SAME, SAME},
    {"ORA-01507", "the database is not mounted", "mount it"},
    {"ORA-01109", "the database is not open", "open it; on a standby switch logs at the primary"},
    {"ORA-16000", "the database is open read only", "on a standby switch logs at the primary"},
    {"ORA-19573", "a datafile is locked by another operation", "wait for the other backup to end"},
    {"ORA-19648", "nothing has changed since the copy", "nothing to do"},
    {"ORA-28365", "the wallet is closed", "open the keystore, then run again"},
    {"ORA-38760", "flashback cannot be turned on or off", "drop the guaranteed restore point"},
    {"ORA-01111", "a datafile has no name yet", "it came with a plugged PDB: take its first copy"},
    {"ORA-01547", "opening would fail", "read the codes below it"},
    {"ORA-01233", "a read-only file stops this recovery", "recover with RMAN"},
    {"ORA-01565", "a file cannot be identified", "check path and permissions"},
    {"ORA-00059", "db_files is reached", "raise it in the parameter file"},
    {"ORA-03113", "the server process ended", "look into the alert log"},
    {"ORA-03114", SAME, SAME},
    {"ORA-01092", SAME, SAME},
    {"ORA-00028", "the session was killed", "run again"},
    {"ORA-01013", "the operation was cancelled", "run again"},
    {"RMAN-05021", "a standby cannot be configured this way", "configure at the primary"},
    {"RMAN-05140", "the undo mode of a PDB changed after the target", "choose another target"},
    {"RMAN-06808", "section size and MAXPIECESIZE exclude each other", "clear MAXPIECESIZE"},
    {"RMAN-06908", "this edition allows one channel", "set parallel = 1"},
    {"RMAN-06207", "files to delete do not match the repository",
     "crosscheck with the area mounted"},
    {"RMAN-01009", "RMAN does not understand the script", "check the overriding template"},
    {"RMAN-10038", "the server session ended", "look into the alert log"},
    {"RMAN-08137", "an archived log is still needed by a standby or capture", "nothing to do"},
    {"RMAN-08120", "an archived log is not applied on the standby yet", "nothing to do"},
    {"RMAN-08138", "an archived log needs more backups by policy", "nothing to do"},
    {"RMAN-07517", "a file is not Oracle's, or its header is corrupt",
     "nothing to do when foreign"},
    {"RMAN-07518", "a file of another database", "nothing to do"},
    {"RMAN-07519", "a file could not be catalogued", "check the file"},
    {"LRM-00109", "the parameter file cannot be opened", "check path and permissions"},
    {"SP2-0640", "SQL*Plus is not connected", "check that the instance is running"},
    {"SP2-0750", "the Oracle home is wrong", "check oraclehome"},
    {"SP2-0667", SAME, SAME},
};

bool rmanlog_explain(const char *code, const char **ret_meaning, const char **ret_action)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!str_equal(rows[i].code, code))
            continue;
        while (!rows[i].meaning)
            i--;
        *ret_meaning = rows[i].meaning;
        *ret_action = rows[i].action;
        return true;
    }
    return false;
}
