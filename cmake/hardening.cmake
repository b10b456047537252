# What makes a fault of ours hard to use, in everything that users get: each flag where compiler and linker know it, with what it does.
# A build with sanitizers is left as it is: they see more, and FORTIFY would hide calls from them. tests/hardened.py checks a release.
include(CheckCXXCompilerFlag)
include(CheckLinkerFlag)

set(hardening_compile_flags
  -fstack-protector-strong       # a buffer's overflow on the stack ends the program before it returns to where the overflow says
  -fstack-clash-protection       # a large frame touches each of its pages, so none jumps over the guard page below the stack
  -fcf-protection=full           # x86-64: where kernel and libraries do their part, a jump by pointer lands at a function's begin only
  -mbranch-protection=standard   # arm64: the same, and a return address is signed while it lies on the stack
  -fPIE)                         # the program lies at another address in each run
if(APPLE)
  # Pointers are signed in Apple's own ABI arm64e alone; in ours the instructions would do nothing, and unwinding get slower.
  list(REMOVE_ITEM hardening_compile_flags -mbranch-protection=standard)
endif()
set(hardening_link_flags
  -pie                           # what -fPIE has prepared
  -Wl,-z,relro                   # tables of pointers that the dynamic linker fills in are read-only from then on ...
  -Wl,-z,now                     # ... all of them, since it fills them in before the program begins
  -Wl,-z,noexecstack)            # nothing on the stack is code
if(APPLE)
  set(hardening_link_flags "")   # its linker does all of that by itself
endif()
set(hardening_definitions
  _GLIBCXX_ASSERTIONS            # libstdc++: an index or iterator that is out of its container ends the program; the same of libc++:
  _LIBCPP_HARDENING_MODE=_LIBCPP_HARDENING_MODE_FAST)

# harden(TARGET): an interface target's users get all of it.
function(harden target)
  set(CMAKE_REQUIRED_FLAGS -Werror)  # clang only warns of some flags that it ignores
  foreach(flag IN LISTS hardening_compile_flags)
    string(MAKE_C_IDENTIFIER "COLIMA_LIKE_KNOWS${flag}" known)
    check_cxx_compiler_flag(${flag} ${known})
    if(${known})
      target_compile_options(${target} INTERFACE ${flag})
    endif()
  endforeach()
  unset(CMAKE_REQUIRED_FLAGS)
  foreach(flag IN LISTS hardening_link_flags)
    string(MAKE_C_IDENTIFIER "COLIMA_LIKE_LINKS${flag}" known)
    check_linker_flag(CXX ${flag} ${known})
    if(${known})
      target_link_options(${target} INTERFACE ${flag})
    endif()
  endforeach()
  target_compile_definitions(${target} INTERFACE ${hardening_definitions})
  # The C library's calls know how large what they write to is. It takes an optimized build; Ubuntu's compiler defines it itself.
  target_compile_options(${target} INTERFACE $<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE> $<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=3>)
endfunction()
