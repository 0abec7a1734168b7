/* Stands in for libcuda.so.1 in tests of legscore/cuda/libcuda.py: two GPUs, and the states of a stream capture.
   CUDA_STUB=none: no device; CUDA_STUB=refuse: a capture cannot be ended. */
#include <stdlib.h>
#include <string.h>

static int capturing, graphs, launchable, launches;
static int stubbed(const char* what) { const char* set = getenv("CUDA_STUB"); return set && !strcmp(set, what); }

int cuInit(unsigned flags) { return flags ? 1 : stubbed("none") ? 100 : 0; }
int cuDriverGetVersion(int* version) { *version = 13010; return 0; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = ordinal + 40; return 0; }
int cuDeviceGetName(char* name, int size, int device) { strncpy(name, device == 40 ? "NVIDIA H200" : "Tesla T4", size); return 0; }
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = device == 40 ? 150000000000ul : 16000000000ul; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 16 ? (device == 40 ? 132 : 40) : attribute == 75 ? (device == 40 ? 9 : 7) : device == 40 ? 0 : 5;
    return 0;
}
int cuGetErrorString(int code, const char** text) {
    if (code == 999) return 1;
    *text = code == 100 ? "no CUDA-capable device is detected" : "operation failed due to a previous error during capture";
    return 0;
}
int cuStreamBeginCapture_v2(void* stream, int mode) { return (long)stream == 77 && mode == 1 && !capturing++ ? 0 : 900; }
int cuStreamEndCapture(void* stream, void** graph) {
    if ((long)stream != 77 || !capturing--) return 999;
    if (stubbed("refuse")) { *graph = 0; return 901; }
    ++graphs;
    *graph = (void*)1234;
    return 0;
}
int cuGraphInstantiateWithFlags(void** launchable_, void* graph, unsigned long long flags) {
    if ((long)graph != 1234 || flags) return 1;
    ++launchable;
    *launchable_ = (void*)5678;
    return 0;
}
int cuGraphLaunch(void* launchable_, void* stream) { launches += (long)launchable_ == 5678 && (long)stream == 88; return 0; }
int cuGraphDestroy(void* graph) { return (long)graph == 1234 && graphs-- > 0 ? 0 : 1; }
int cuGraphExecDestroy(void* launchable_) { return (long)launchable_ == 5678 && launchable-- > 0 ? 0 : 1; }
int stub_state(void) { return capturing * 1000 + graphs * 100 + launchable * 10 + launches; }
