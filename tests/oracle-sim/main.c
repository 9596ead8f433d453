/* One program, three faces: rman and sqlplus by their names, the test's control command otherwise.
 */
#include "sim.h"

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(name, "rman") == 0)
        return rman_main(argc, argv);
    if (strcmp(name, "sqlplus") == 0)
        return sqlplus_main(argc, argv);
    return verbs_main(argc, argv);
}
