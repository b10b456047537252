#include "src/cli/habits.hpp"

#include <algorithm>
#include <array>

namespace cl::cli {
namespace {

constexpr std::array verbs_of_others{
    Habit{"info", "status"},
    Habit{"inspect", "status --json"},
    Habit{"ls", "list"},
    Habit{"ps", "list", "The containers of a machine are listed by 'docker ps'"},
    Habit{"rm", "delete"},
    Habit{"remove", "delete"},
    Habit{"destroy", "delete"},
    Habit{"factory-reset", "delete --data", "The next 'colima-like start' makes a new machine"},
    Habit{"reset", "delete --data", "The next 'colima-like start' makes a new machine"},
    Habit{"shell", "ssh"},
    Habit{"sh", "ssh"},
    Habit{"exec", "ssh", "A command in a container is run by 'docker exec'"},
    Habit{"run", "ssh", "A container is run by 'docker run'"},
    Habit{"console", "logs --console"},
    Habit{"log", "logs"},
    Habit{"create", "start"},
    Habit{"init", "start"},
    Habit{"up", "start"},
    Habit{"resume", "start"},
    Habit{"unpause", "start"},
    Habit{"down", "stop"},
    Habit{"halt", "stop"},
    Habit{"poweroff", "stop"},
    Habit{"pause", "suspend"},
    Habit{"sleep", "suspend"},
    Habit{"copy", "cp"},
    Habit{"push", "cp"},
    Habit{"pull", "cp",
          "'colima-like image pull' downloads the machine's image, and 'docker pull' those of containers"},
    Habit{"stats", "top"},
    Habit{"watch", "events"},
    Habit{"reboot", "restart"},
    Habit{"show-ssh", "ssh-config"},
    Habit{"edit", "config edit"},
    Habit{"validate", "config check"},
    Habit{"settings", "config show"},
    Habit{"default", "use"},
    Habit{"switch", "use"},
    Habit{"mount", "share add"},
    Habit{"port-forward", "forward add", "It takes HOST:GUEST, as 8080:80"},
    Habit{"tunnel", "forward add", "It takes HOST:GUEST, as 8080:80"},
    Habit{"prune", "image prune", "Containers' leftovers are removed by 'docker system prune'"},
    Habit{"tmpl", "template edit"},
    Habit{"tpl", "template edit"},
    Habit{"update", "image build", "A new machine stands on it: 'colima-like delete' keeps the containers' data"},
    Habit{"check", "doctor"},
    Habit{"kubernetes", "", "There is no Kubernetes here; kind and k3d run in the machine's Docker"},
    Habit{"k8s", "", "There is no Kubernetes here; kind and k3d run in the machine's Docker"},
    Habit{"model", "", "There is no runner of models here; it runs in a container"},
    Habit{"snapshot", "export", "'colima-like clone' makes a second machine with the same data"},
    Habit{"docker", "env", "Plain 'docker' uses the machine while it runs"},
};

constexpr std::string_view shares_take = "It takes LOCATION[:MOUNT POINT][:ro], and is writable without ':ro'";
constexpr std::string_view no_kubernetes = "There is no Kubernetes here; kind and k3d run in the machine's Docker";
constexpr std::string_view no_address =
    "The machine has no address of its own; what containers publish is on this host";
constexpr std::string_view more_words = "What happened is in the daemon's log";

constexpr std::array options_of_others{
    Habit{"--mount", "--share", shares_take},
    Habit{"-V", "--share", shares_take},
    Habit{"--mount-only", "--set shares=LOCATION"},
    Habit{"--mount-none", "--set shares=[]"},
    Habit{"--mount-writable", "", "Shares are writable unless they end with ':ro'"},
    Habit{"--mount-type", "--set share_type=TYPE"},
    Habit{"--mount-inotify", "--set file_events=true", "It is so by default"},
    Habit{"--cpu", "--cpus"},
    Habit{"-c", "--cpus"},
    Habit{"--cpu-type", "", "The machine has this host's CPU, or all that the emulation can do"},
    Habit{"-m", "--memory"},
    Habit{"-d", "--disk"},
    Habit{"--root-disk", "--disk", "It limits the containers' data; the machine's own disk needs no size"},
    Habit{"-a", "--arch"},
    Habit{"-r", "--runtime"},
    Habit{"--containerd", "--runtime containerd"},
    Habit{"-i", "--image"},
    Habit{"--disk-image", "--image"},
    Habit{"--plain", "--image plain"},
    Habit{"-t", "--set vm.driver=DRIVER"},
    Habit{"--vm-type", "--set vm.driver=DRIVER"},
    Habit{"--vz-rosetta", "--set vm.rosetta=on"},
    Habit{"--rosetta", "--set vm.rosetta=on"},
    Habit{"-z", "--set vm.nested=true"},
    Habit{"--nested-virtualization", "--set vm.nested=true"},
    Habit{"--nested-virt", "--set vm.nested=true"},
    Habit{"--binfmt", "", "Programs of other architectures run in every machine"},
    Habit{"-n", "--set network.dns=ADDRESS"},
    Habit{"--dns", "--set network.dns=ADDRESS"},
    Habit{"--dns-host", "--set network.hosts=NAME=ADDRESS"},
    Habit{"--env", "--set env=NAME=VALUE"},
    Habit{"--port-forwarder", "--set network.forward=WHICH"},
    Habit{"--port-forward", "colima-like forward add", "'docker run -p' publishes a container's port by itself"},
    Habit{"-L", "colima-like forward add", "It takes HOST:GUEST, as 8080:80"},
    Habit{"-R", "colima-like forward add", "With -R it takes GUEST:HOST, as 9000:9000"},
    Habit{"--network", "", no_address},
    Habit{"--network-address", "", no_address},
    Habit{"--network-mode", "", no_address},
    Habit{"--network-interface", "", no_address},
    Habit{"--network-host-addresses", "", "Ports are opened on exactly the addresses that containers ask for"},
    Habit{"--gateway-address", "", "Containers know this computer as host.docker.internal"},
    Habit{"--hostname", "-p NAME", "The machine's name is the profile's"},
    Habit{"--name", "-p NAME"},
    Habit{"-s", "--set ssh.agent=true"},
    Habit{"--ssh-agent", "--set ssh.agent=true"},
    Habit{"--ssh-config", "colima-like ssh-config --install"},
    Habit{"--ssh-port", "colima-like ssh-config", "SSH has no port here: it runs over a socket"},
    Habit{"-e", "colima-like config edit"},
    Habit{"--edit", "colima-like config edit"},
    Habit{"--editor", "colima-like config edit", "It opens what VISUAL or EDITOR names"},
    Habit{"--save-config", "colima-like config set KEY VALUE", "Flags are for one run"},
    Habit{"--template", "colima-like template edit"},
    Habit{"--activate", "colima-like use"},
    Habit{"-k", "", no_kubernetes},
    Habit{"--kubernetes", "", no_kubernetes},
    Habit{"--with-kubernetes", "", no_kubernetes},
    Habit{"--kubernetes-version", "", no_kubernetes},
    Habit{"--k3s-arg", "", no_kubernetes},
    Habit{"--foreground", "colima-like logs --follow", "The machine goes on when the command ends"},
    Habit{"--verbose", "colima-like logs", more_words},
    Habit{"--very-verbose", "colima-like logs", more_words},
    Habit{"--debug", "colima-like logs", more_words},
    Habit{"--extended", "", "'colima-like status' shows it all"},
    Habit{"--format", "--json"},
    Habit{"-q", "--json"},
    Habit{"--quiet", "--json"},
    Habit{"-j", "--json"},
    Habit{"-y", "", "Nothing is asked here, so there is nothing to confirm"},
    Habit{"--tty", "", "Nothing is asked here, so there is nothing to confirm"},
};

}  // namespace

std::span<const Habit> foreign_verbs() { return verbs_of_others; }
std::span<const Habit> foreign_options() { return options_of_others; }

const Habit* find_habit(std::span<const Habit> habits, std::string_view word) {
  const auto found =
      std::find_if(habits.begin(), habits.end(), [word](const Habit& one) { return one.theirs == word; });
  return found == habits.end() ? nullptr : &*found;
}

std::string value_as_ours(std::string_view key, std::string_view text) {
  if (key == "arch" && (text == "amd64" || text == "x86-64")) return "x86_64";
  if (key == "arch" && text == "arm64") return "aarch64";
  return std::string(text);
}

}  // namespace cl::cli
