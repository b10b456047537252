#include "vm/qemu/command_line.hpp"
#include "vm/qemu/firmware.hpp"

#include <gtest/gtest.h>

#include <csignal>

#include <algorithm>

#include "vm/qemu/binary.hpp"
#include "vm/qemu/driver.hpp"

namespace cl {
namespace {

BootPlan typical() {
  BootPlan plan;
  plan.name = "default";
  plan.arch = "x86_64";
  plan.kernel = "/img/kernel";
  plan.initrd = "/img/initrd";
  plan.kernel_arguments = "root=/dev/vda rw";
  plan.root_disk = "/p/root.qcow2";
  plan.data_disk = "/p/data.raw";
  plan.credentials = {{"colima-like.data", "/p/seed/data"}};
  plan.run_directory = "/p/run";
  plan.console_log = "/p/log/console.log";
  return plan;
}

QemuHost host_of(const BootPlan& plan) { return {"/usr/bin/qemu-system-" + plan.arch, true, {}, "/firm,ware.fd"}; }

std::string joined(const BootPlan& plan, const QemuHost& host) {
  std::string text;
  for (const std::string& word : qemu_command_line(plan, host)) {
    text += !text.empty() && word.starts_with("-") ? "\n" : text.empty() ? "" : " ";
    text += word;
  }
  return text;
}

bool has(const std::vector<std::string>& words, std::string_view option, std::string_view value) {
  for (std::size_t i = 0; i + 1 < words.size(); ++i)
    if (words[i] == option && words[i + 1] == value) return true;
  return false;
}

TEST(QemuCommandLine, BootsAnEmulatedPc) {
  const BootPlan plan = typical();
  EXPECT_EQ(joined(plan, host_of(plan)),
            R"(/usr/bin/qemu-system-x86_64
-name guest=default,debug-threads=on
-nodefaults
-no-user-config
-display none
-msg timestamp=on
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine q35,vmport=off,hpet=off,i8042=off,sata=off,smbus=off,usb=off,dump-guest-core=off,mem-merge=off
-accel tcg,thread=multi,tb-size=512
-cpu max,-erms,-fsrm,vmx=off,svm=off
-smp 2,sockets=1,cores=2,threads=1
-m 2048M
-global ICH9-LPC.disable_s3=1
-global ICH9-LPC.disable_s4=1
-action reboot=shutdown
-device vmgenid,guid=auto
-kernel /img/kernel
-initrd /img/initrd
-append root=/dev/vda rw console=ttyS0 mitigations=off no5lvl no_timer_check
-object iothread,id=disks
-blockdev driver=file,node-name=root-file,discard=unmap,filename=/p/root.qcow2
-blockdev driver=qcow2,node-name=root,file=root-file,discard=unmap,detect-zeroes=unmap
-device virtio-blk-pci,drive=root,iothread=disks,serial=colima-like-root
-blockdev driver=file,node-name=data-file,discard=unmap,filename=/p/data.raw
-blockdev driver=raw,node-name=data,file=data-file,discard=unmap,detect-zeroes=unmap
-device virtio-blk-pci,drive=data,iothread=disks,serial=colima-like-data
-object rng-random,id=entropy,filename=/dev/urandom
-device virtio-rng-pci,rng=entropy
-device virtio-balloon-pci,free-page-reporting=on
-netdev user,id=net
-device virtio-net-pci,netdev=net,romfile=,mac=52:54:00:3b:5b:de
-device virtio-serial-pci,id=channels,max_ports=19
-chardev socket,id=ssh0-in,path=/p/run/ssh0-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=1,chardev=ssh0-in,name=colima-like.ssh.0.in
-chardev socket,id=ssh0-out,path=/p/run/ssh0-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=2,chardev=ssh0-out,name=colima-like.ssh.0.out
-chardev socket,id=ssh1-in,path=/p/run/ssh1-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=3,chardev=ssh1-in,name=colima-like.ssh.1.in
-chardev socket,id=ssh1-out,path=/p/run/ssh1-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=4,chardev=ssh1-out,name=colima-like.ssh.1.out
-chardev socket,id=ssh2-in,path=/p/run/ssh2-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=5,chardev=ssh2-in,name=colima-like.ssh.2.in
-chardev socket,id=ssh2-out,path=/p/run/ssh2-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=6,chardev=ssh2-out,name=colima-like.ssh.2.out
-chardev socket,id=ssh3-in,path=/p/run/ssh3-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=7,chardev=ssh3-in,name=colima-like.ssh.3.in
-chardev socket,id=ssh3-out,path=/p/run/ssh3-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=8,chardev=ssh3-out,name=colima-like.ssh.3.out
-chardev socket,id=data-in,path=/p/run/data-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=9,chardev=data-in,name=colima-like.data.in
-chardev socket,id=data-out,path=/p/run/data-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=10,chardev=data-out,name=colima-like.data.out
-chardev socket,id=fs0-in,path=/p/run/fs0-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=11,chardev=fs0-in,name=colima-like.share.0.in
-chardev socket,id=fs0-out,path=/p/run/fs0-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=12,chardev=fs0-out,name=colima-like.share.0.out
-chardev socket,id=fs1-in,path=/p/run/fs1-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=13,chardev=fs1-in,name=colima-like.share.1.in
-chardev socket,id=fs1-out,path=/p/run/fs1-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=14,chardev=fs1-out,name=colima-like.share.1.out
-chardev socket,id=fs2-in,path=/p/run/fs2-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=15,chardev=fs2-in,name=colima-like.share.2.in
-chardev socket,id=fs2-out,path=/p/run/fs2-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=16,chardev=fs2-out,name=colima-like.share.2.out
-chardev socket,id=fs3-in,path=/p/run/fs3-in.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=17,chardev=fs3-in,name=colima-like.share.3.in
-chardev socket,id=fs3-out,path=/p/run/fs3-out.sock,server=on,wait=off
-device virtserialport,bus=channels.0,nr=18,chardev=fs3-out,name=colima-like.share.3.out
-chardev file,id=console,append=on,path=/p/log/console.log
-serial chardev:console
-chardev socket,id=qmp,path=/p/run/qmp.sock,server=on,wait=off
-mon chardev=qmp,mode=control
-fw_cfg name=opt/io.systemd.credentials/colima-like.data,file=/p/seed/data)");
}

TEST(QemuCommandLine, BootsAnArmMachineWithItsOwnConsoleAndNoPcParts) {
  BootPlan plan = typical();
  plan.arch = "aarch64";
  const std::string text = joined(plan, host_of(plan));
  EXPECT_NE(text.find("-machine virt,gic-version=max,"), std::string::npos);
  EXPECT_NE(text.find("-append root=/dev/vda rw console=ttyAMA0"), std::string::npos);
  EXPECT_NE(text.find("-device virtio-keyboard-pci"), std::string::npos) << "its power button";
  EXPECT_NE(text.find("-cpu max,pauth-impdef=on\n"), std::string::npos);
  for (const char* pc : {"vmport", "ICH9", "vmgenid", "i8042"}) EXPECT_EQ(text.find(pc), std::string::npos) << pc;
}

TEST(QemuCommandLine, MovesTheGuestsNetwork) {
  BootPlan plan = typical();
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-netdev", "user,id=net"));
  plan.network = "192.168.127.0/24";
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-netdev",
                  "user,id=net,net=192.168.127.0/24,host=192.168.127.2,dns=192.168.127.3,dhcpstart=192.168.127.15"));
}

TEST(QemuCommandLine, ANetworkCardLeadsAsFarAsThePlanSays) {
  BootPlan plan = typical();
  plan.reach = BootPlan::Reach::nowhere;
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-netdev", "user,id=net,restrict=on"));
  plan.network = "192.168.127.0/24";
  EXPECT_NE(joined(plan, host_of(plan)).find("user,id=net,restrict=on,net=192.168.127.0/24,"), std::string::npos);
  plan.reach = BootPlan::Reach::no_card;
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-nic", "none"));
  EXPECT_EQ(joined(plan, host_of(plan)).find("netdev"), std::string::npos);
}

TEST(QemuCommandLine, GivesVirtualizationOnlyWhenAsked) {
  BootPlan plan = typical();
  plan.nested = true;
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-cpu", "max,-erms,-fsrm"));
  plan.arch = "aarch64";
  EXPECT_NE(joined(plan, host_of(plan))
                .find("-machine virt,gic-version=max,dump-guest-core=off,mem-merge=off,virtualization=on\n"),
            std::string::npos);
}

TEST(QemuCommandLine, UsesTheHostsCpuWhereItIsReal) {
  BootPlan plan = typical();
  plan.accel = Accel::kvm;
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-accel", "kvm"));
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-cpu", "host,vmx=off,svm=off"));
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-append", "root=/dev/vda rw console=ttyS0"));
  plan.accel = Accel::hvf;
  EXPECT_TRUE(has(qemu_command_line(plan, host_of(plan)), "-accel", "hvf"));
}

TEST(QemuCommandLine, TakesAVersionedMachineType) {
  const BootPlan plan = typical();
  QemuHost host = host_of(plan);
  host.machine_type = "pc-q35-10.0";
  EXPECT_NE(joined(plan, host).find("-machine pc-q35-10.0,vmport=off"), std::string::npos);
}

TEST(QemuCommandLine, LeavesTheSandboxOutWhereQemuHasNone) {
  const BootPlan plan = typical();
  QemuHost host = host_of(plan);
  host.sandbox = false;
  EXPECT_EQ(joined(plan, host).find("-sandbox"), std::string::npos);
}

TEST(QemuCommandLine, OpensNoPortOnTheHost) {
  const BootPlan plan = typical();
  const std::string text = joined(plan, host_of(plan));
  for (const char* listener : {"hostfwd", "guestfwd", "tcp:", "host="})
    EXPECT_EQ(text.find(listener), std::string::npos);
}

TEST(QemuCommandLine, DoublesCommasInPaths) {
  BootPlan plan = typical();
  plan.root_disk = "/a,b/root.qcow2";
  plan.run_directory = "/a,b";
  plan.kernel = "/a,b/kernel";  // a word of its own, in which commas mean nothing
  const auto words = qemu_command_line(plan, host_of(plan));
  EXPECT_TRUE(has(words, "-blockdev", "driver=file,node-name=root-file,discard=unmap,filename=/a,,b/root.qcow2"));
  EXPECT_TRUE(has(words, "-chardev", "socket,id=qmp,path=/a,,b/qmp.sock,server=on,wait=off"));
  EXPECT_TRUE(has(words, "-kernel", "/a,b/kernel"));
}

TEST(QemuCommandLine, NamesEveryDiskFormat) {
  const BootPlan plan = typical();
  const auto words = qemu_command_line(plan, host_of(plan));
  EXPECT_EQ(std::count(words.begin(), words.end(), "-drive"), 0);
  for (const std::string& word : words) {
    if (word.find("filename=") != std::string::npos && word.find("node-name") != std::string::npos) {
      EXPECT_EQ(word.find("driver="), 0U) << word;
    }
  }
}

TEST(QemuCommandLine, RefusesSocketPathsThatTheKernelCannotHold) {
  BootPlan plan = typical();
  plan.run_directory = "/" + std::string(110, 'x');
  EXPECT_THROW(qemu_command_line(plan, host_of(plan)), Error);
}

TEST(QemuCommandLine, RefusesACredentialThatFwCfgCannotCarry) {
  BootPlan plan = typical();
  plan.credentials = {{std::string(28, 'n'), "/f"}};
  EXPECT_NO_THROW(qemu_command_line(plan, host_of(plan)));
  plan.credentials = {{std::string(29, 'n'), "/f"}};
  EXPECT_THROW(qemu_command_line(plan, host_of(plan)), Error);
  plan.credentials = {{"a,b", "/f"}};
  EXPECT_THROW(qemu_command_line(plan, host_of(plan)), Error);
}

TEST(QemuCommandLine, GivesEachNameItsOwnAddressForEver) {
  EXPECT_EQ(mac_address("default"), "52:54:00:3b:5b:de");
  EXPECT_EQ(mac_address("default"), mac_address("default"));
  EXPECT_NE(mac_address("default"), mac_address("work"));
}

TEST(QemuVersion, IsReadFromDistributionsAndHomebrewsLines) {
  QemuBinary debian, brew, other;
  EXPECT_TRUE(parse_qemu_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopy", debian));
  EXPECT_EQ(debian.major, 10);
  EXPECT_EQ(debian.minor, 0);
  EXPECT_EQ(debian.version, "10.0.2");
  EXPECT_TRUE(parse_qemu_version("QEMU emulator version 9.2.50\n", brew));
  EXPECT_EQ(brew.major, 9);
  EXPECT_EQ(brew.minor, 2);
  EXPECT_FALSE(parse_qemu_version("bash: not found", other));
  EXPECT_FALSE(parse_qemu_version("QEMU emulator version ", other));
  EXPECT_FALSE(parse_qemu_version("QEMU emulator version 9", other));
}

TEST(QemuInstallHint, NamesBackportsOnDebian12AndThePackageElsewhere) {
  const std::string debian12 = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
  EXPECT_NE(install_qemu_hint(debian12, "x86_64").find("bookworm-backports qemu-system-x86 qemu-utils"),
            std::string::npos);
  EXPECT_EQ(install_qemu_hint("ID=debian\nVERSION_ID=\"13\"\n", "x86_64"),
            "install it with 'apt-get install qemu-system-x86 qemu-utils'");
  EXPECT_EQ(install_qemu_hint("ID=ubuntu\nID_LIKE=debian\n", "aarch64"),
            "install it with 'apt-get install qemu-system-arm qemu-utils'");
  EXPECT_NE(install_qemu_hint("ID=fedora\n", "aarch64").find("dnf install qemu-system-aarch64"), std::string::npos);
  EXPECT_NE(install_qemu_hint("", "x86_64").find("brew install qemu"), std::string::npos);
}

TEST(QemuExit, TellsAPowerOffFromAKill) {
  EXPECT_TRUE(qemu_exit_reason("guest-shutdown", ExitStatus{}).clean);
  EXPECT_EQ(qemu_exit_reason("guest-shutdown", std::nullopt).text, "the guest powered off");
  EXPECT_TRUE(qemu_exit_reason("host-qmp-quit", ExitStatus{}).clean);
  EXPECT_FALSE(qemu_exit_reason("host-signal", ExitStatus{}).clean);
  const ExitReason killed = qemu_exit_reason("", ExitStatus{0, 9});
  EXPECT_FALSE(killed.clean);
  EXPECT_EQ(killed.text, "QEMU was killed by signal 9");
  EXPECT_FALSE(killed.crashed);
  EXPECT_TRUE(qemu_exit_reason("", ExitStatus{0, SIGABRT}).crashed);
  EXPECT_FALSE(qemu_exit_reason("", std::nullopt).clean);
  EXPECT_FALSE(qemu_exit_reason("", ExitStatus{1, 0}).clean);
}

TEST(QemuCommandLine, AShareIsADeviceWhoseServerSeesTheMemory) {
  BootPlan plan = typical();
  plan.shares = {{"share0", "/home/u", false}, {"rosetta", "/r", true}};
  QemuHost host = host_of(plan);
  host.memory = 7;
  const auto words = qemu_command_line(plan, host);
  EXPECT_TRUE(has(words, "-object", "memory-backend-file,id=memory,size=2048M,mem-path=/proc/self/fd/7,share=on"));
  EXPECT_TRUE(has(words, "-chardev", "socket,id=share0,path=/p/run/share0.sock"));
  EXPECT_TRUE(has(words, "-device", "vhost-user-fs-pci,chardev=share0,tag=share0,queue-size=1024"));
  EXPECT_TRUE(has(words, "-device", "vhost-user-fs-pci,chardev=rosetta,tag=rosetta,queue-size=1024"));
  const auto machine = std::find(words.begin(), words.end(), "-machine");
  EXPECT_TRUE(std::next(machine)->ends_with(",memory-backend=memory")) << *std::next(machine);
  EXPECT_EQ(joined(typical(), host_of(plan)).find("memory-backend"), std::string::npos)
      << "without shares nothing changes";
}

TEST(QemuCommandLine, ATagIsAPlainNameOfItsOwn) {
  for (const std::vector<BootShare>& shares :
       std::vector<std::vector<BootShare>>{{{"", "/a", false}},
                                           {{"a,b", "/a", false}},
                                           {{"0", "/a", false}},
                                           {{"A", "/a", false}},
                                           {{std::string(37, 'a'), "/a", false}},
                                           {{"a", "/a", false}, {"a", "/b", false}}}) {
    BootPlan plan = typical();
    plan.shares = shares;
    EXPECT_THROW(qemu_command_line(plan, host_of(plan)), Error) << shares[0].tag;
  }
}

TEST(QemuCommandLine, AnImageThatBootsByItselfGetsNoKernelButASeed) {
  BootPlan plan = typical();
  plan.boot = "bios";
  plan.kernel.clear();
  plan.initrd.clear();
  plan.seed_disk = "/p/seed.img";
  const std::string bios = joined(plan, host_of(plan));
  for (const char* part :
       {"drive=root,iothread=disks,serial=colima-like-root,bootindex=0",
        "driver=file,node-name=seed-file,read-only=on,filename=/p/seed.img",
        "driver=raw,node-name=seed,file=seed-file,read-only=on", "drive=seed,serial=colima-like-seed"})
    EXPECT_NE(bios.find(part), std::string::npos) << part << " in " << bios;
  for (const char* part : {"-kernel", "-append", "-initrd", "firm,ware"})
    EXPECT_EQ(bios.find(part), std::string::npos) << part << " in " << bios;
  plan.boot = "efi";
  const std::string efi = joined(plan, host_of(plan));
  EXPECT_NE(efi.find(",pflash0=firmware"), std::string::npos) << efi;
  EXPECT_NE(efi.find("node-name=firmware-file,read-only=on,filename=/firm,,ware.fd"), std::string::npos) << efi;
  plan.arch = "aarch64";
  const std::string arm = joined(plan, host_of(plan));
  EXPECT_NE(arm.find("-bios /firm,ware.fd"), std::string::npos) << arm;
  EXPECT_EQ(arm.find("pflash"), std::string::npos) << arm;
}

TEST(Firmware, IsLookedForBesideQemuFirst) {
  EXPECT_EQ(firmware_places("aarch64", "/opt/homebrew/bin/qemu-system-aarch64").front(),
            "/opt/homebrew/share/qemu/edk2-aarch64-code.fd");
  EXPECT_EQ(firmware_places("x86_64", "/usr/bin/qemu-system-x86_64").front(), "/usr/share/qemu/edk2-x86_64-code.fd");
  EXPECT_EQ(install_firmware_hint("ID=debian\n", "x86_64"), "apt-get install ovmf");
  EXPECT_EQ(install_firmware_hint("ID=ubuntu\nID_LIKE=debian\n", "aarch64"), "apt-get install qemu-efi-aarch64");
  EXPECT_EQ(install_firmware_hint("", "aarch64"), "brew reinstall qemu");
}

}  // namespace
}  // namespace cl
