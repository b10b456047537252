#include "provision/agent/empty_write.hpp"

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace cl::agent {

EmptyWrite::EmptyWrite() {
  io_uring_params params{};
  ring_.reset(static_cast<int>(::syscall(SYS_io_uring_setup, 1, &params)));
  if (!ring_) return;
  rings_ = map(std::max<std::size_t>(params.sq_off.array + params.sq_entries * sizeof(unsigned),
                                     params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe)),
               IORING_OFF_SQ_RING);
  entries_ = map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  // One mapping for both rings: Linux 5.4 and newer; telling of writes takes 6.5 anyway.
  if ((params.features & IORING_FEAT_SINGLE_MMAP) == 0 || rings_.at == nullptr || entries_.at == nullptr) ring_.reset();
  tail_ = params.sq_off.tail;
  mask_ = params.sq_off.ring_mask;
  array_ = params.sq_off.array;
  head_ = params.cq_off.head;
  done_ = params.cq_off.tail;
  done_mask_ = params.cq_off.ring_mask;
  results_ = params.cq_off.cqes;
}

EmptyWrite::~EmptyWrite() {
  for (const Mapping& mapping : {rings_, entries_})
    if (mapping.at != nullptr) ::munmap(mapping.at, mapping.size);
}

EmptyWrite::Mapping EmptyWrite::map(std::size_t size, unsigned long long offset) {
  void* const at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_.get(), static_cast<off_t>(offset));
  if (at == MAP_FAILED) return {};
  return {at, size};
}

unsigned* EmptyWrite::word(unsigned offset) const {
  return reinterpret_cast<unsigned*>(static_cast<char*>(rings_.at) + offset);
}

bool EmptyWrite::operator()(int fd) {
  if (!ring_) return false;
  const unsigned tail = *word(tail_);
  const unsigned slot = tail & *word(mask_);
  io_uring_sqe& entry = static_cast<io_uring_sqe*>(entries_.at)[slot];
  std::memset(&entry, 0, sizeof entry);
  entry.opcode = IORING_OP_WRITE;
  entry.fd = fd;
  word(array_)[slot] = slot;
  __atomic_store_n(word(tail_), tail + 1, __ATOMIC_RELEASE);
  if (::syscall(SYS_io_uring_enter, ring_.get(), 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) != 1) return false;
  int result = -1;
  unsigned head = *word(head_);
  for (; head != __atomic_load_n(word(done_), __ATOMIC_ACQUIRE); ++head) {
    const auto* results = reinterpret_cast<const io_uring_cqe*>(static_cast<char*>(rings_.at) + results_);
    result = results[head & *word(done_mask_)].res;
  }
  __atomic_store_n(word(head_), head, __ATOMIC_RELEASE);
  return result == 0;
}

}  // namespace cl::agent
