#pragma once

namespace cl::agent {

/// As `crun`, the OCI runtime of containerd's shim: crun itself, called with what costs the guest less.
///
/// * A container's network is given to dockerd by a hook, for which dockerd calls itself: 94 MB of Go that start for
/// one
///   line over a socket, a fifth of an emulated `docker run`. The hook calls set_network_key() instead.
/// * crun makes itself unwritable for the container by a mount of its own in each of the five calls of a `docker run`,
///   and runs anew from there. Where the guest has such a mount since its boot, `words[0]`-read-only, that is run.
///
/// Whatever is not as expected is left to the crun in $PATH as it is. Returns only when there is none.
int run_oci_runtime(int count, char** words);

/// As `libnetwork-setkey -exec-root=FOLDER CONTAINER CONTROLLER`, what dockerd 20.10 to 27 asks its hook for
/// (libnetwork/sandbox_externalkey_unix.go): reads the container's state of the OCI runtime specification from stdin,
/// tells the controller's socket where its network name space is, and returns 0 when that answers that it is taken.
int set_network_key(int count, char** words);

}  // namespace cl::agent
