# cmake -DPROGRAMS=ARCHITECTURE=FILE|... -DTO=FILE -P digests.cmake: a header with the SHA-256 of each, AGENT_DIGEST_ARCHITECTURE,
# by which the guest knows the program that it is sent, and the one that it has.
string(REPLACE "|" ";" PROGRAMS "${PROGRAMS}")
set(text "#pragma once\n\n")
foreach(program IN LISTS PROGRAMS)
  string(REGEX MATCH "^([^=]*)=(.*)$" ignored "${program}")
  file(SHA256 ${CMAKE_MATCH_2} digest)
  string(APPEND text "#define AGENT_DIGEST_${CMAKE_MATCH_1} \"${digest}\"\n")
endforeach()
file(WRITE ${TO} "${text}")
