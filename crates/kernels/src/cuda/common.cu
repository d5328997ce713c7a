// What several kernels need. All files of this folder are compiled as one program.

typedef unsigned int u32;
typedef unsigned long long u64;

// Every kernel has C linkage, so that its name is its name.
#define KERNEL extern "C" __global__ void

// Threads that execute in lockstep.
#define WARP 32
#define ALL_LANES 0xffffffffu

__device__ inline float negative_infinity() { return __int_as_float(0xff800000); }

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Sum over the lanes of a warp, in all of them.
__device__ inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2)
        x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}
