// Sums and scalings of whole vectors: grid [ceil(n / 1024), 1, 1], 256 threads, each of which owns
// 4 elements, 256 apart. Sums of squares: grid [blocks, 1, 1] as the caller likes, 256 threads,
// each of which owns every (256 blocks)-th element; one sum per block.

#define ELEMENTWISE_THREADS 256u
#define ELEMENTWISE_PER_THREAD 4u

// Sum over the 256 threads of a block, in thread 0; once per kernel.
__device__ inline double elementwise_block_sum(double x) {
    __shared__ double sums[ELEMENTWISE_THREADS / WARP];
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    if (threadIdx.x == 0)
        for (u32 warp = 1; warp < ELEMENTWISE_THREADS / WARP; warp++) x += sums[warp];
    return x;
}

// out = alpha a + beta b; out may be a or b.
KERNEL elementwise_scaled_sum(float alpha, const float* a, float beta, const float* b, float* out,
                              u32 n) {
    size_t first = (size_t)blockIdx.x * ELEMENTWISE_THREADS * ELEMENTWISE_PER_THREAD + threadIdx.x;
#pragma unroll
    for (u32 part = 0; part < ELEMENTWISE_PER_THREAD; part++) {
        size_t i = first + part * ELEMENTWISE_THREADS;
        if (i < n) out[i] = fmaf(alpha, a[i], beta * b[i]);
    }
}

// out = factor x
KERNEL elementwise_scale(float factor, const float* x, float* out, u32 n) {
    size_t first = (size_t)blockIdx.x * ELEMENTWISE_THREADS * ELEMENTWISE_PER_THREAD + threadIdx.x;
#pragma unroll
    for (u32 part = 0; part < ELEMENTWISE_PER_THREAD; part++) {
        size_t i = first + part * ELEMENTWISE_THREADS;
        if (i < n) out[i] = factor * x[i];
    }
}

// sums[block]: the sum of squares of the block's elements.
KERNEL elementwise_sum_of_squares(const float* x, u32 n, double* sums) {
    size_t step = (size_t)gridDim.x * ELEMENTWISE_THREADS;
    double sum = 0.0;
    for (size_t i = (size_t)blockIdx.x * ELEMENTWISE_THREADS + threadIdx.x; i < n; i += step)
        sum += (double)x[i] * (double)x[i];
    sum = elementwise_block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
