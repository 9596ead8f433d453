/* Every key there is: name, section, default, bounds, help. Parser, check-config and manual read
 * it. */
#include "agent/config/keys.h"

#include "agent/base/str.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { G = KEYS_GENERIC, R = KEYS_RMAN, D = KEYS_DATABASE, A = KEYS_AUTORESTORE };
#define U32 UINT32_MAX
#define YEARS 36500

/* name, home, plain in, kind, default, min, max, choices, help. Origin: the reference toolset's
 * backup.cfg as it is, with our own keys in [generic]. */
static const struct keys_key shim_keys[] = {
    {"agent", G, G | D, KEYS_ADDRESS, "", 7420, 0, NULL, "HOST:PORT of the agent"},
    {"certdir", G, G | D, KEYS_PATH, "/etc/evercopy/pki", 0, 0, NULL,
     "folder of ca.crt, client.crt, client.key"},
    {"ca", G, G | D, KEYS_PATH, "", 0, 0, NULL, "CA certificate, when not in certdir"},
    {"cert", G, G | D, KEYS_PATH, "", 0, 0, NULL, "our certificate, when not in certdir"},
    {"key", G, G | D, KEYS_PATH, "", 0, 0, NULL, "its key, when not in certdir"},
    {"ticketfile", G, G | D, KEYS_PATH, "", 0, 0, NULL,
     "where the TLS session with the agent is kept; else /var/lib/evercopy/shim/NAME.ticket"},
    {"backupdest", G, G | D, KEYS_PATH, "", 0, 0, NULL, "where the area is mounted"},
    {"backupdestshared", G, G | D, KEYS_FLAG, "true", 0, 0, NULL,
     "the area is a folder with the database's name below backupdest"},
    {"oraclehome", G, G | D, KEYS_PATH, "", 0, 0, NULL, "Oracle home; else from /etc/oratab"},
    {"sid", G, D, KEYS_NAME, "", 0, 0, NULL, "instance; else the section's name"},
    {"oraclesid", G, D, KEYS_NAME, "", 0, 0, NULL, "another word for sid"},
    {"osuser", G, G | D, KEYS_LINE, "", 0, 0, NULL, "owner of the Oracle software"},
    {"tnsadmin", G, G | D, KEYS_PATH, "", 0, 0, NULL, "TNS_ADMIN of Oracle's programs"},
    {"tag", G, D, KEYS_NAME, "", 0, 30, NULL, "tag of copies and increments; else EVERCOPY_DB"},
    {"logs", G, G | D, KEYS_CHOICE, "pull", 0, 0, "pull|push",
     "RMAN copies the logs into the area, or the database writes them there"},
    {"logwait", G, G | D, KEYS_NUMBER, "300", 1, 86400, NULL, "seconds to wait for a switched log"},
    {"agentwait", G, G | D, KEYS_NUMBER, "900", 1, 86400, NULL,
     "seconds a run that has begun waits for an agent that is away"},
    {"spool", G, G | D, KEYS_PATH, "/var/lib/evercopy/spool", 0, 0, NULL,
     "folder for what the agent was not told yet"},
    {"spoolmax", G, G | D, KEYS_NUMBER, "64", 1, 65536, NULL, "MiB of log that may wait there"},
    {"rmansilent", G, G | D, KEYS_NUMBER, "180", 0, 100000, NULL,
     "minutes without a line from RMAN that are told as an alarm; 0: never"},
    {"rmandeadline", G, G | D, KEYS_NUMBER, "0", 0, 100000, NULL,
     "minutes without a line after which RMAN is stopped; 0: never"},
    {"templates", G, G | D, KEYS_PATH, "/etc/evercopy/templates", 0, 0, NULL,
     "folder of templates that override the built-in ones"},
    {"allowfull", G, G | D, KEYS_FLAG, "false", 0, 0, NULL,
     "a run may copy whole files that have lost their copies"},
    {"strict", G, G | D, KEYS_FLAG, "false", 0, 0, NULL, "warnings end with a non-zero exit code"},
    {"zone", G, G | D, KEYS_LINE, "", 0, 0, NULL, "time zone of the database host, overriding it"},
    {"logretention", G, G, KEYS_NUMBER, "31", 0, YEARS, NULL, "days; kept for import"},
    {"areamounted", G, G | D, KEYS_FLAG, "true", 0, 0, NULL,
     "false: this host reaches the area by Direct NFS alone, facts go through the agent"},
    {"warningsnapage", G, G | D, KEYS_NUMBER, "36", 0, 1000000, NULL,
     "hours without a new recovery point: check warns; 0: never"},
    {"criticalsnapage", G, G | D, KEYS_NUMBER, "48", 0, 1000000, NULL,
     "hours without one: check is critical; 0: never"},
    {"maxlockwait", G, G | D, KEYS_NUMBER, "0", 0, 10080, NULL,
     "minutes to wait for an earlier run; 0: leave at once"},
    {"snappermodule", G, G, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"snapperclass", G, G, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"catalog", R, R, KEYS_LINE, "", 0, 0, NULL, "recovery catalog's connect string; kept"},
    {"sectionsize", R, R | G | D, KEYS_SIZE, "none", 0, 0, NULL, "of level 1 pieces, such as 64G"},
    {"url", KEYS_ZFSSA, KEYS_ZFSSA, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"pool", KEYS_ZFSSA, KEYS_ZFSSA, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"project", KEYS_ZFSSA, KEYS_ZFSSA, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"zfscredentials", KEYS_ZFSSA, KEYS_ZFSSA, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"filer", KEYS_NETAPP, KEYS_NETAPP, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"mounthost", KEYS_NETAPP, KEYS_NETAPP, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"volumeprefix", KEYS_NETAPP, KEYS_NETAPP, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"cacert", KEYS_NETAPP, KEYS_NETAPP, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"netappcredentials", KEYS_NETAPP, KEYS_NETAPP, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"serveraddress", KEYS_SOFTNAS, KEYS_SOFTNAS, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"pool", KEYS_SOFTNAS, KEYS_SOFTNAS, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"credentials", KEYS_SOFTNAS, KEYS_SOFTNAS, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"url", KEYS_DORADO, KEYS_DORADO, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"vstore", KEYS_DORADO, KEYS_DORADO, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"mounthost", KEYS_DORADO, KEYS_DORADO, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"restorenfsclient", KEYS_DORADO, KEYS_DORADO, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"credentials", KEYS_DORADO, KEYS_DORADO, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"autorestoredestination", A, A | D, KEYS_PATH, "", 0, 0, NULL,
     "folder of the sandbox's instance"},
    {"autorestoreclonename", A, A | D, KEYS_LINE, "", 0, 0, NULL, "name of the clone"},
    {"autorestoremountpoint", A, A | D, KEYS_PATH, "", 0, 0, NULL,
     "folder in which clones are mounted by their names; one for each database, as names may meet"},
    {"mounthelper", A, A | D, KEYS_PATH, "", 0, 0, NULL,
     "program that mounts and unmounts clones, such as /usr/lib/evercopy/evercopy-mount"},
    {"autorestoresnapage", A, A | D, KEYS_NUMBER, "0", 0, 1000000, NULL, "hours; kept"},
    {"autorestorelogdir", A, A | D, KEYS_PATH, "", 0, 0, NULL, "logs of the sandbox"},
    {"autorestoremaxtoleranceminutes", A, A | D, KEYS_NUMBER, "5", 0, 1000000, NULL, "kept"},
    {"autorestorecatalog", A, A | D, KEYS_LINE, "", 0, 0, NULL,
     "connect string of the test records"},
    {"autorestorevalidatechance", A, A | D, KEYS_NUMBER, "0", 0, 1000000, NULL, "kept"},
    {"autorestoremodulus", A, A | D, KEYS_NUMBER, "1", 1, 1000000, NULL, "kept"},
    {"pga_size", A, A | D, KEYS_SIZE, "1G", 0, 0, NULL, "PGA target of the sandbox"},
    {"sga_size", A, A | D, KEYS_SIZE, "2G", 0, 0, NULL, "SGA of the sandbox"},
    {"dbid", D, D, KEYS_NUMBER, "0", 0, U32, NULL, "pins the database's id; 0: not pinned"},
    {"recoverywindow", D, G | D, KEYS_NUMBER, "2", 0, YEARS, NULL, "days; kept for import"},
    {"parallel", D, G | D, KEYS_NUMBER, "1", 1, 254, NULL, "RMAN channels"},
    {"snapexpirationdays", D, G | D, KEYS_NUMBER, "0", 0, YEARS, NULL, "kept for import"},
    {"snapexpirationmonths", D, G | D, KEYS_NUMBER, "0", 0, 1200, NULL, "kept for import"},
    {"registercatalog", D, G | D, KEYS_FLAG, "false", 0, 0, NULL, "kept for import"},
    {"hasdataguard", D, G | D, KEYS_FLAG, "false", 0, 0, NULL,
     "a standby may be the one backed up"},
    {"dosnapshot", D, G | D, KEYS_FLAG, "true", 0, 0, NULL, "kept for import"},
    {"gimanaged", D, G | D, KEYS_FLAG, "true", 0, 0, NULL, "kept for import"},
    {"schedulebackup", D, G | D, KEYS_LINE, "FREQ=DAILY", 0, 0, NULL, "calendar of backup"},
    {"schedulearchlog", D, G | D, KEYS_LINE, "FREQ=HOURLY;INTERVAL=6", 0, 0, NULL,
     "calendar of archivelogs"},
    {"backupjobenabled", D, G | D, KEYS_FLAG, "true", 0, 0, NULL, "the scheduler's job is enabled"},
    {"primarytns", D, D, KEYS_LINE, "", 0, 0, NULL, "TNS name of the primary, for log switches"},
    {"additionalvolumesuffixes", D, D, KEYS_TEXT, "", 0, 0, NULL, "kept for import"},
    {"customverifydate", D, D, KEYS_TEXT, "", 0, 0, NULL, "query for restore tests; kept"},
    {"stringforvalidationmod", D, D, KEYS_LINE, "", 0, 0, NULL, "kept for import"},
    {"autorestoreenabled", D, G | D, KEYS_FLAG, "1", 0, 0, NULL, "restore tests take part"},
    {"autorestoreinstancenumber", D, D, KEYS_NUMBER, "1", 1, 1024, NULL, "of the sandbox"},
    {"autorestorethread", D, D, KEYS_NUMBER, "1", 1, 1024, NULL, "of the sandbox"},
};
const struct keys_table keys_shim = {shim_keys, sizeof shim_keys / sizeof *shim_keys};
_Static_assert(sizeof shim_keys / sizeof *shim_keys <= KEYS_MAX, "KEYS_MAX");

static const struct keys_key agent_keys[] = {
    {"listen", KEYS_AGENT, KEYS_AGENT, KEYS_ADDRESS, "0.0.0.0:7420", 7420, 0, NULL, "gRPC"},
    {"status", KEYS_AGENT, KEYS_AGENT, KEYS_ADDRESS, "127.0.0.1:7421", 7421, 0, NULL,
     "status page and metrics"},
    {"state", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "/var/lib/evercopy", 0, 0, NULL,
     "catalog, audit log"},
    {"pki", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "/etc/evercopy/pki", 0, 0, NULL, "CA, certificates"},
    {"run", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "/run/evercopy", 0, 0, NULL, "sockets"},
    {"verify", KEYS_AGENT, KEYS_AGENT, KEYS_CHOICE, "headers", 0, 0, "headers|full",
     "what is read of each snapshot"},
    {"loglevel", KEYS_AGENT, KEYS_AGENT, KEYS_CHOICE, "info", 0, 0, "error|warning|info|debug",
     "lines above it are dropped"},
    {"workers", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "4", 1, 64, NULL,
     "threads that read and verify"},
    {"backuplease", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "3600", 60, 604800, NULL,
     "seconds a silent backup keeps its lease"},
    {"callsperminute", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "6000", 0, 1000000, NULL,
     "of one database host; 0: no bound"},
    {"runsperday", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "300", 0, 1000000, NULL,
     "a database host may begin, per database; 0: no bound"},
    {"snapshotsperday", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "600", 0, 1000000, NULL,
     "a database host may take, per database; 0: no bound"},
    {"loglinesperrun", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "1000000", 0, 1000000,
     NULL, "of the log a database host sends; 0: no bound but a million"},
    {"loglinesperday", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "4000000", 0, 1000000000,
     NULL, "all runs of a database together; 0: no bound"},
    {"logbytesperrun", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_SIZE, "256M", 0, 0, NULL,
     "of the log a database host sends; none: no bound"},
    {"logbytesperday", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_SIZE, "1G", 0, 0, NULL,
     "all runs of a database together; none: no bound"},
    {"overduewarning", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "36", 1, 100000, NULL,
     "hours without a good run that are a warning"},
    {"overduefailed", KEYS_AGENT, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "48", 1, 100000, NULL,
     "hours without a good run that are a failure"},
    {"hooks", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "", 0, 0, NULL,
     "folder of executables <event>/NN-name, such as /etc/evercopy/hook.d"},
    {"hooklib", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "", 0, 0, NULL,
     "shared object with the hooks of a firmware builder"},
    {"hookhost", KEYS_AGENT, KEYS_AGENT, KEYS_PATH, "/usr/lib/evercopy/evercopy-hook-host", 0, 0,
     NULL, "what runs hooklib, in a process of its own"},
    {"hookdeadline", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "30", 1, 3600, NULL,
     "seconds one hook may take"},
    {"hookdelay", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "300", 1, 86400, NULL,
     "seconds hooks may hold up one snapshot, together"},
    {"capacitylow", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "10", 0, 99, NULL,
     "percent available below which a volume is low; 0: never"},
    {"capacityok", KEYS_AGENT, KEYS_AGENT, KEYS_NUMBER, "15", 0, 100, NULL,
     "percent available from which a low volume counts as recovered"},
    {"driver", KEYS_STORAGE, KEYS_STORAGE, KEYS_NAME, "", 0, 64, NULL,
     "reflink, btrfs, vault...; its other keys are the driver's"},
    {"storage", KEYS_SERVED, KEYS_SERVED, KEYS_NAME, "", 0, 64, NULL, "name of a [storage NAME]"},
    {"volume", KEYS_SERVED, KEYS_SERVED, KEYS_LINE, "", 0, 0, NULL, "else the database's name"},
    {"dbid", KEYS_SERVED, KEYS_SERVED, KEYS_NUMBER, "0", 0, U32, NULL,
     "pins the id; 0: not pinned"},
    {"zone", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_LINE, "", 0, 0, NULL,
     "time zone by name: hours, days, weeks, months of retention; else UTC"},
    {"retention", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_CHOICE, "manual", 0, 0, "auto|manual",
     "auto: applied after each good run"},
    {"recoverywindow", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, YEARS, NULL,
     "days in which every reachable moment stays so"},
    {"snapexpirationdays", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, YEARS, NULL,
     "days every snapshot stays"},
    {"snapexpirationmonths", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 1200, NULL,
     "months the last proven snapshot of a month stays"},
    {"keephourly", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 100000, NULL,
     "hours that keep a proven point"},
    {"keepdaily", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 100000, NULL,
     "days that keep a proven point"},
    {"keepweekly", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 100000, NULL,
     "weeks that keep a proven point"},
    {"keepmonthly", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 100000, NULL,
     "months that keep a proven point"},
    {"keepyearly", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "0", 0, 100000, NULL,
     "years that keep a proven point"},
    {"keepproven", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "3", 1, 100000, NULL,
     "days with a proven point that always stay, whatever their age"},
    {"logretention", KEYS_SERVED, KEYS_AGENT | KEYS_SERVED, KEYS_NUMBER, "31", 0, YEARS, NULL,
     "days archived logs stay in the live area; 0: until two proven snapshots hold them"},
};
const struct keys_table keys_agent = {agent_keys, sizeof agent_keys / sizeof *agent_keys};

static const struct keys_key vault_keys[] = {
    {"box", KEYS_VAULT, KEYS_VAULT, KEYS_PATH, "/var/lib/evercopy/vault", 0, 0, NULL,
     "local folder of what is written and not yet in the store"},
    {"socket", KEYS_VAULT, KEYS_VAULT, KEYS_PATH, "/run/evercopy/vault.sock", 0, 0, NULL,
     "where the agent asks"},
    {"allow", KEYS_VAULT, KEYS_VAULT, KEYS_LINE, "", 0, 0, NULL,
     "users besides root and our own that may ask, blanks between"},
    {"layer", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "1G", 0, 0, NULL,
     "what a volume writes before it is packed without a snapshot"},
    {"unsealed", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "8G", 0, 0, NULL,
     "unpacked data of a volume above which writers wait"},
    {"debt", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "64M", 0, 0, NULL,
     "written and not yet synced data above which writers wait"},
    {"wait", KEYS_VAULT, KEYS_VAULT, KEYS_NUMBER, "15", 1, 20, NULL,
     "seconds a writer waits before it is told to come again"},
    {"cache", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "64M", 0, 0, NULL, "memory for unpacked frames"},
    {"directories", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "32M", 0, 0, NULL,
     "memory for the directories of packs"},
    {"reserve", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "16M", 0, 0, NULL,
     "room kept in the box so that deleting works on a full disk"},
    {"level", KEYS_VAULT, KEYS_VAULT, KEYS_NUMBER, "1", 1, 19, NULL, "of zstd"},
    {"threads", KEYS_VAULT, KEYS_VAULT, KEYS_NUMBER, "0", 0, 64, NULL,
     "that compress; 0: as many as processors, at most 4"},
    {"thinrate", KEYS_VAULT, KEYS_VAULT, KEYS_SIZE, "none", 0, 0, NULL,
     "bytes a second when packs are thinned"},
    {"loglevel", KEYS_VAULT, KEYS_VAULT, KEYS_CHOICE, "info", 0, 0, "error|warning|info|debug",
     "lines above it are dropped"},
    {"nfslisten", KEYS_VAULT, KEYS_VAULT, KEYS_LINE, "", 0, 0, NULL,
     "addresses the NFS server listens on, blanks between; else all, once there is an [export]; "
     "none: it does not"},
    {"nfsport", KEYS_VAULT, KEYS_VAULT, KEYS_NUMBER, "0", 0, 65535, NULL,
     "0: 2049 when it is free, else 20490, else any"},
    {"nfsconnections", KEYS_VAULT, KEYS_VAULT, KEYS_NUMBER, "1024", 1, 65536, NULL,
     "NFS connections at once; a quarter of them from one address"},
    {"rpcbind", KEYS_VAULT, KEYS_VAULT, KEYS_CHOICE, "auto", 0, 0, "auto|yes|no",
     "tell this host's port mapper, where one runs; yes: its absence is a warning"},
    {"url", KEYS_STORE, KEYS_STORE, KEYS_LINE, "", 0, 0, NULL,
     "a folder, nfs://HOST/EXPORT/FOLDER or s3://BUCKET/PREFIX; other keys are the backend's"},
    {"clients", KEYS_EXPORT, KEYS_EXPORT, KEYS_TEXT, "none", 0, 0, NULL,
     "networks that may use it, such as 10.1.0.0/16 192.168.7.4 fd00::/8; [export] without a NAME "
     "holds for every volume whose own section does not say otherwise"},
    {"cloneclients", KEYS_EXPORT, KEYS_EXPORT, KEYS_TEXT, "", 0, 0, NULL,
     "networks that may use its clones; else those of clients"},
    {"squash", KEYS_EXPORT, KEYS_EXPORT, KEYS_CHOICE, "root", 0, 0, "root|none|all",
     "whose requests are an anonymous user's"},
    {"readonly", KEYS_EXPORT, KEYS_EXPORT, KEYS_FLAG, "false", 0, 0, NULL,
     "clients change nothing, neither in the volume nor in its clones"},
    {"privileged", KEYS_EXPORT, KEYS_EXPORT, KEYS_FLAG, "false", 0, 0, NULL,
     "only ports below 1024 are answered, which are root's on the client"},
    {"anonuid", KEYS_EXPORT, KEYS_EXPORT, KEYS_NUMBER, "65534", 0, U32, NULL,
     "of the anonymous user"},
    {"anongid", KEYS_EXPORT, KEYS_EXPORT, KEYS_NUMBER, "65534", 0, U32, NULL, "and its group"},
    {"owner", KEYS_EXPORT, KEYS_EXPORT, KEYS_NUMBER, "0", 0, U32, NULL,
     "uid that a top folder gets which is root's still, as new volumes' are: who is squashed could "
     "not change it"},
    {"group", KEYS_EXPORT, KEYS_EXPORT, KEYS_NUMBER, "0", 0, U32, NULL, "and its gid"},
};
const struct keys_table keys_vault = {vault_keys, sizeof vault_keys / sizeof *vault_keys};
_Static_assert(sizeof vault_keys / sizeof *vault_keys <= KEYS_MAX, "KEYS_MAX");

static const struct {
    unsigned section;
    const char *name;
} section_names[] = {
    {KEYS_GENERIC, "generic"},
    {KEYS_RMAN, "rman"},
    {KEYS_ZFSSA, "zfssa"},
    {KEYS_NETAPP, "netapp"},
    {KEYS_SOFTNAS, "softnas"},
    {KEYS_DORADO, "huaweidorado"},
    {KEYS_AUTORESTORE, "autorestore"},
    {KEYS_DATABASE, "DATABASE"},
    {KEYS_AGENT, "agent"},
    {KEYS_VAULT, "vault"},
    {KEYS_STORE, "store"},
    {KEYS_EXPORT, "export NAME"},
    {KEYS_STORAGE, "storage NAME"},
    {KEYS_SERVED, "database DB"},
};

static const char *section_name(unsigned section)
{
    for (size_t i = 0; i < sizeof section_names / sizeof *section_names; i++)
        if (section_names[i].section == section)
            return section_names[i].name;
    return "";
}

unsigned keys_section_of(const char *name)
{
    for (unsigned s = KEYS_GENERIC; s < KEYS_DATABASE; s <<= 1)
        if (str_equal(name, section_name(s)))
            return s;
    return KEYS_DATABASE;
}

/* "zfssapool" for pool of [zfssa]. */
static void prefixed(const struct keys_key *key, char ret[128])
{
    str_format(ret, 128, "%s%s", section_name(key->home), key->name);
}

int keys_find(const struct keys_table *table, unsigned section, const char *name)
{
    char full[128];
    for (size_t i = 0; i < table->count; i++) {
        const struct keys_key *key = &table->keys[i];
        if ((key->plain & section) && str_equal(key->name, name))
            return (int)i;
        prefixed(key, full);
        if (section == KEYS_DATABASE && key->home != KEYS_DATABASE && str_equal(full, name))
            return (int)i;
    }
    return -1;
}

bool keys_unknown(const struct keys_table *table, unsigned section, const struct ini_event *event,
                  const char *file, struct err *err)
{
    const char *known[2 * KEYS_MAX];
    char full[KEYS_MAX][128];
    size_t count = 0;
    size_t full_count = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct keys_key *key = &table->keys[i];
        if (key->plain & section)
            known[count++] = key->name;
        if (section == KEYS_DATABASE && key->home != KEYS_DATABASE) {
            prefixed(key, full[full_count]);
            known[count++] = full[full_count++];
        }
    }
    const char *nearest = str_nearest(event->key, known, count);
    return err_set(err, ERR_CONFIG, "%s:%u: unknown key '%s' in section [%s]%s%s%s", file,
                   event->line, event->key, event->section, nearest ? ", nearest: '" : "",
                   nearest ? nearest : "", nearest ? "'" : "");
}

static bool all_signs(const char *text, const char *more)
{
    for (; *text; text++)
        if (!(isascii((unsigned char)*text) && isalnum((unsigned char)*text)) &&
            !strchr(more, *text))
            return false;
    return true;
}

bool keys_name_fits(const char *name)
{
    size_t len = strlen(name);
    return len && len <= 63 && *name != '.' && *name != '-' && all_signs(name, "_$#-.");
}

static bool check_line(const struct keys_key *key, const char *value, struct err *err)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\t')
            return err_set(err, ERR_CONFIG, "key '%s' takes one line of text", key->name);
    return true;
}

static bool check_path(const struct keys_key *key, const char *value, struct err *err)
{
    if (!check_line(key, value, err))
        return false;
    if (!*value)
        return true;
    if (*value != '/' || strpbrk(value, "'\";") || strlen(value) > 500)
        return err_set(err, ERR_CONFIG,
                       "key '%s' takes an absolute path without quotes or ';', not '%.80s'",
                       key->name, value);
    return true;
}

static bool check_number(const struct keys_key *key, const char *value, struct err *err)
{
    uint64_t number;
    if (str_to_u64(value, key->max, &number) && number >= key->min)
        return true;
    return err_set(err, ERR_CONFIG, "key '%s' takes a number from %llu to %llu, not '%.80s'",
                   key->name, (unsigned long long)key->min, (unsigned long long)key->max, value);
}

static bool check_flag(const struct keys_key *key, const char *value, struct err *err)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "1", "0"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_equal_fold(value, words[i]))
            return true;
    return err_set(err, ERR_CONFIG, "key '%s' takes true or false, not '%.80s'", key->name, value);
}

static bool check_size(const struct keys_key *key, const char *value, struct err *err)
{
    size_t digits = strspn(value, "0123456789");
    bool unit = value[digits] && strchr("kKmMgG", value[digits]) && !value[digits + 1];
    if (str_equal_fold(value, "none") || !*value ||
        (digits && digits <= 9 && *value != '0' && (unit || !value[digits])))
        return true;
    return err_set(err, ERR_CONFIG, "key '%s' takes a size such as 64G or 512M, not '%.80s'",
                   key->name, value);
}

static bool check_choice(const struct keys_key *key, const char *value, struct err *err)
{
    size_t len = strlen(value);
    for (const char *p = key->choices; len && *p; p += strspn(p, "|")) {
        size_t word = strcspn(p, "|");
        if (word == len && !strncasecmp(p, value, len))
            return true;
        p += word;
    }
    return err_set(err, ERR_CONFIG, "key '%s' takes one of %s, not '%.80s'", key->name,
                   key->choices, value);
}

/* Length of the host in HOST, HOST:PORT, [IPV6] or [IPV6]:PORT; 0 when it is none of these. */
static size_t split_address(const char *value, const char **ret_host, const char **ret_port)
{
    *ret_host = value;
    *ret_port = "";
    size_t len = strcspn(value, ":");
    const char *rest = value + len;
    if (*value == '[') {
        *ret_host = value + 1;
        len = strcspn(value + 1, "]");
        if (!value[len + 1])
            return 0;
        rest = value + len + 2;
    }
    if (*rest && *rest != ':')
        return 0;
    if (*rest)
        *ret_port = rest + 1;
    return *rest && !rest[1] ? 0 : len;
}

static bool check_address(const struct keys_key *key, const char *value, struct err *err)
{
    const char *host;
    const char *port;
    uint64_t number = 1;
    size_t len = split_address(value, &host, &port);
    bool good = len && len < 254 && all_signs(value, "-._:[]%") &&
                (!*port || (str_to_u64(port, 65535, &number) &&
                            (number || str_equal(key->name, "listen")))); /* 0: any free one */
    return good ||
           err_set(err, ERR_CONFIG, "key '%s' takes HOST:PORT, not '%.80s'", key->name, value);
}

static bool check_name(const struct keys_key *key, const char *value, struct err *err)
{
    size_t max = key->max ? key->max : 63;
    if (strlen(value) <= max && all_signs(value, "_$#-."))
        return true;
    return err_set(err, ERR_CONFIG,
                   "key '%s' takes at most %zu letters, digits and _ $ # - ., not "
                   "'%.80s'",
                   key->name, max, value);
}

bool keys_check(const struct keys_key *key, const char *value, struct err *err)
{
    static bool (*const checks[])(const struct keys_key *, const char *, struct err *) = {
        [KEYS_LINE] = check_line,     [KEYS_PATH] = check_path,       [KEYS_NAME] = check_name,
        [KEYS_SIZE] = check_size,     [KEYS_NUMBER] = check_number,   [KEYS_FLAG] = check_flag,
        [KEYS_CHOICE] = check_choice, [KEYS_ADDRESS] = check_address,
    };
    return !checks[key->kind] || checks[key->kind](key, value, err);
}

bool keys_flag(const char *value)
{
    return (*value && strchr("tTyY1", *value)) || str_equal_fold(value, "on");
}

uint64_t keys_size(const char *value)
{
    static const char units[] = "kmg";
    size_t digits = strspn(value, "0123456789");
    uint64_t number = digits ? strtoull(value, NULL, 10) : 0; /* checked: at most nine digits */
    const char *unit = value[digits] ? strchr(units, value[digits] | 0x20) : NULL;
    return unit ? number << (10 * (unit - units + 1)) : number;
}

uint64_t keys_number(const char *value)
{
    uint64_t number = 0;
    IGNORE(!str_to_u64(value, UINT64_MAX, &number)); /* checked when it was read */
    return number;
}

struct config_address keys_address(const char *value, uint64_t default_port, char *host)
{
    const char *start;
    const char *port;
    size_t len = split_address(value, &start, &port);
    memcpy(host, start, len);
    host[len] = '\0';
    uint64_t number = *port ? keys_number(port) : default_port;
    return (struct config_address){host, len ? (uint16_t)number : 0};
}

static void describe_bounds(const struct keys_key *key, struct str *text)
{
    if (key->kind == KEYS_NUMBER)
        str_printf(text, " (%llu..%llu)", (unsigned long long)key->min,
                   (unsigned long long)key->max);
    if (key->choices)
        str_printf(text, " (%s)", key->choices);
}

char *keys_describe(const struct keys_table *table, struct err *err)
{
    AUTO(str) struct str text = {0};
    unsigned home = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct keys_key *key = &table->keys[i];
        if (key->home != home)
            str_printf(&text, "%s[%s]\n", home ? "\n" : "", section_name(key->home));
        home = key->home;
        str_printf(&text, "%s = %s\n    %s", key->name, key->fallback, key->help);
        describe_bounds(key, &text);
        str_append(&text, "\n");
    }
    return str_take(&text, err);
}

const char *keys_keep(struct keys_texts *texts, char *text, struct err *err)
{
    if (!text)
        return NULL;
    if (!own_grow((void **)&texts->texts, &texts->capacity, texts->count, sizeof *texts->texts,
                  err)) {
        own_free(text);
        return NULL;
    }
    texts->texts[texts->count++] = text;
    return text;
}

void keys_texts_done(struct keys_texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        own_free(texts->texts[i]);
    own_free(texts->texts);
    *texts = (struct keys_texts){0};
}
