/* Only linked into static binaries, with glibc. By default glibc loads a library for each service of the line `hosts` in
   /etc/nsswitch.conf, and ends the process if that is of another glibc, as on most machines. `files` and `dns` are
   linked in. */

#include <nss.h>

__attribute__((constructor)) static void resolve_by_files_and_dns(void)
{
    __nss_configure_lookup("hosts", "files dns");
}
