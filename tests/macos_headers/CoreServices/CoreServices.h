#pragma once

// For compile checks on hosts without Apple's SDK: of its CoreServices what src/base/file_watch_darwin.cpp uses, as its
// documentation says (File System Events, https://developer.apple.com/documentation/coreservices/file_system_events).
// Nothing is linked or run with this.

#include <dispatch/dispatch.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
typedef const void* CFTypeRef;
typedef const struct __CFAllocator* CFAllocatorRef;
typedef const struct __CFString* CFStringRef;
typedef const struct __CFArray* CFArrayRef;
typedef struct __CFArray* CFMutableArrayRef;
typedef signed long CFIndex;
typedef double CFTimeInterval;
typedef const void* (*CFAllocatorRetainCallBack)(const void* info);
typedef void (*CFAllocatorReleaseCallBack)(const void* info);
typedef CFStringRef (*CFAllocatorCopyDescriptionCallBack)(const void* info);
struct CFArrayCallBacks;
extern const CFArrayCallBacks kCFTypeArrayCallBacks;
CFMutableArrayRef CFArrayCreateMutable(CFAllocatorRef, CFIndex capacity, const CFArrayCallBacks*);
void CFArrayAppendValue(CFMutableArrayRef, const void* value);
CFStringRef CFStringCreateWithFileSystemRepresentation(CFAllocatorRef, const char* buffer);
void CFRelease(CFTypeRef);

typedef uint32_t FSEventStreamCreateFlags;
typedef uint32_t FSEventStreamEventFlags;
typedef uint64_t FSEventStreamEventId;
typedef struct __FSEventStream* FSEventStreamRef;
typedef const struct __FSEventStream* ConstFSEventStreamRef;
typedef unsigned char Boolean;
struct FSEventStreamContext {
  CFIndex version;
  void* info;
  CFAllocatorRetainCallBack retain;
  CFAllocatorReleaseCallBack release;
  CFAllocatorCopyDescriptionCallBack copyDescription;
};
typedef void (*FSEventStreamCallback)(ConstFSEventStreamRef, void* info, size_t count, void* paths,
                                      const FSEventStreamEventFlags* flags, const FSEventStreamEventId* ids);
enum : FSEventStreamCreateFlags {
  kFSEventStreamCreateFlagNoDefer = 0x2,
  kFSEventStreamCreateFlagWatchRoot = 0x4,
  kFSEventStreamCreateFlagFileEvents = 0x10,
};
enum : FSEventStreamEventFlags {
  kFSEventStreamEventFlagMustScanSubDirs = 0x1,
  kFSEventStreamEventFlagRootChanged = 0x20,
  kFSEventStreamEventFlagItemCreated = 0x100,
  kFSEventStreamEventFlagItemRemoved = 0x200,
  kFSEventStreamEventFlagItemRenamed = 0x800,
  kFSEventStreamEventFlagItemModified = 0x1000,
  kFSEventStreamEventFlagItemIsDir = 0x20000,
};
#define kFSEventStreamEventIdSinceNow 0xFFFFFFFFFFFFFFFFULL
FSEventStreamRef FSEventStreamCreate(CFAllocatorRef, FSEventStreamCallback, FSEventStreamContext*, CFArrayRef paths,
                                     FSEventStreamEventId since, CFTimeInterval latency, FSEventStreamCreateFlags);
void FSEventStreamSetDispatchQueue(FSEventStreamRef, dispatch_queue_t);
Boolean FSEventStreamStart(FSEventStreamRef);
void FSEventStreamStop(FSEventStreamRef);
void FSEventStreamInvalidate(FSEventStreamRef);
void FSEventStreamRelease(FSEventStreamRef);
}
