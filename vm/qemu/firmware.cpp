#include "vm/qemu/firmware.hpp"

#include "src/base/error.hpp"
#include "src/base/file.hpp"

namespace cl {

std::vector<fs::path> firmware_places(std::string_view arch, const fs::path& qemu) {
  const bool x86 = arch == "x86_64";
  const char* edk2 = x86 ? "edk2-x86_64-code.fd" : "edk2-aarch64-code.fd";
  std::vector<fs::path> places;
  std::error_code ec;
  const fs::path real = fs::canonical(qemu, ec);  // Homebrew links its programs
  for (const fs::path& program : {qemu, ec ? qemu : real})
    places.push_back(program.parent_path().parent_path() / "share/qemu" / edk2);
  // Debian and Ubuntu; Arch; Fedora; openSUSE. Those with variables apart, without Secure Boot.
  if (x86)
    places.insert(places.end(), {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd",
                                 "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/ovmf/OVMF_CODE.fd",
                                 "/usr/share/qemu/ovmf-x86_64-code.bin"});
  else
    places.insert(places.end(), {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
                                 "/usr/share/edk2/aarch64/QEMU_EFI.fd", "/usr/share/edk2/aarch64/QEMU_CODE.fd",
                                 "/usr/share/qemu/aavmf-aarch64-code.bin"});
  return places;
}

std::string install_firmware_hint(std::string_view os_release, std::string_view arch) {
  const bool x86 = arch == "x86_64";
  if (os_release.empty()) return "brew reinstall qemu";
  for (const std::string_view apt : {"ID=debian", "ID=ubuntu", "ID_LIKE=debian", "ID_LIKE=\"ubuntu", "ID_LIKE=ubuntu"})
    if (os_release.find(apt) != std::string_view::npos)
      return x86 ? "apt-get install ovmf" : "apt-get install qemu-efi-aarch64";
  return x86 ? "install the package edk2-ovmf (or ovmf)" : "install the package edk2-aarch64 (or qemu-efi-aarch64)";
}

fs::path find_firmware(const std::string& arch, const fs::path& qemu) {
  for (const fs::path& place : firmware_places(arch, qemu)) {
    std::error_code ec;
    if (fs::exists(place, ec)) return place;
  }
  const std::string os = read_file_if_exists("/etc/os-release").value_or("");
  throw Error(Errc::host_requirement, "there is no EFI firmware for " + arch + " machines, by which this image boots",
              install_firmware_hint(os, arch))
      .because("it is neither beside QEMU nor where distributions put it");
}

}  // namespace cl
