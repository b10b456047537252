#!/usr/bin/env python3
"""disk.py DISK ROOT.RAW bios BOOT.IMG CORE.IMG | efi EFI.RAW: a GPT disk that GRUB boots, of parts made by others.

Two partitions: GRUB's core or, for EFI, the system partition that GRUB is a file on; and the root file system at the end,
so that it can grow. On a PC's BIOS boot.img reads the core's first sector from where its offset 0x5c says, and that sector
reads the rest by the block list at its end (GRUB's grub-core/boot/i386/pc/boot.S and diskboot.S,
include/grub/i386/pc/boot.h). GPT: UEFI specification, chapter 5.
"""
import struct
import sys
import uuid
import zlib

SECTOR = 512
LOADER_AT = 2048
BIOS_BOOT = uuid.UUID("21686148-6449-6E6F-744E-656564454649")
EFI_SYSTEM = uuid.UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
LINUX = uuid.UUID("0FC63DAF-8483-4772-8E79-3D69D8477DE4")


def main(disk, root_file, firmware, *loader):
    sector = bytearray(SECTOR)
    if firmware == "bios":
        kind, root_at = BIOS_BOOT, 4096
        boot, core = (bytearray(open(part, "rb").read()) for part in loader)
        core += bytes(-len(core) % SECTOR)
        core[500:512] = struct.pack("<QHH", LOADER_AT + 1, len(core) // SECTOR - 1, 0x820)
        sector[:440] = boot[:440]
        sector[0x5C:0x64] = struct.pack("<Q", LOADER_AT)
        sector[0x66:0x68] = b"\x90\x90"  # as grub-bios-setup does: trust the BIOS with the drive's number
    else:
        kind, core = EFI_SYSTEM, open(loader[0], "rb").read()
        root_at = LOADER_AT + len(core) // SECTOR
    with open(root_file, "rb") as root:
        root_sectors = root.seek(0, 2) // SECTOR
    last = root_at + root_sectors + 33

    def entry(kind, number, first, end):
        return kind.bytes_le + uuid.UUID(int=number).bytes_le + struct.pack("<QQQ72x", first, end, 0)

    entries = entry(kind, 1, LOADER_AT, root_at - 1) + entry(LINUX, 2, root_at, root_at + root_sectors - 1)
    entries += bytes(128 * 128 - len(entries))

    def header(here, other, table):
        def pack(crc):
            return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, here, other, 34, last - 33,
                               uuid.UUID(int=3).bytes_le, table, 128, 128, zlib.crc32(entries))
        return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")

    sector[446:462] = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, min(last, 0xFFFFFFFF))
    sector[510:512] = b"\x55\xaa"
    with open(disk, "wb") as out:
        out.truncate((last + 1) * SECTOR)
        out.write(sector + header(1, last, 2) + entries)
        out.seek(LOADER_AT * SECTOR)
        out.write(core)
        out.seek((last - 32) * SECTOR)
        out.write(entries + header(last, 1, last - 32))
        with open(root_file, "rb") as root:
            at = root_at * SECTOR
            while piece := root.read(1 << 20):
                if piece.count(0) != len(piece):
                    out.seek(at)
                    out.write(piece)
                at += len(piece)


main(*sys.argv[1:])
