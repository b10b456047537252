#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>

#include "src/base/async.hpp"
#include "src/base/byte_size.hpp"
#include "src/base/unique_fd.hpp"

/// A guest's memory as an anonymous file of the host (memfd), which the servers of its shares map, too. To read all of
/// a mapping, as QEMU does to save it, would have the kernel make a page for each hole: what the guest never touched,
/// or has given back. The file's holes can be skipped, so that memory is saved and loaded from here.
namespace cl {

/// An empty one. Linux only: throws Error{host_requirement} elsewhere.
UniqueFd make_memory_file(ByteSize size);

/// That of a QEMU which runs; nothing when its memory is no such file.
UniqueFd memory_file_of(pid_t qemu);

/// Its size in bytes. Throws Error{io}.
std::uint64_t size_of_memory(int file);

/// Copies what the memory holds into the file at `path`, which is there, to the same places; and back, into memory that
/// is empty. Throws Error{io}.
asio::awaitable<void> write_memory(std::shared_ptr<const UniqueFd> memory, std::filesystem::path path);
asio::awaitable<void> read_memory(std::filesystem::path path, std::shared_ptr<const UniqueFd> memory);

}  // namespace cl
