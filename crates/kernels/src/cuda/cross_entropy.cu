// Cross entropy on finished logits, and the weighted sum that makes one loss of many.
//
// cross_entropy_forward, cross_entropy_backward:
//   grid ceil(rows / 8); block 8 warps; no shared memory. One warp per row, a lane owns the logits
//   lane, lane + 32, ...
// cross_entropy_weighted_sums:
//   grid ceil(n / 4096); block 256; shared memory 64 bytes. A block owns 4096 products.
// cross_entropy_sum_parts:
//   grid 1; block 256; shared memory 64 bytes. A thread owns every 256th part.

#define CROSS_ENTROPY_WARPS 8
#define CROSS_ENTROPY_BLOCK 256
#define CROSS_ENTROPY_PRODUCTS 4096

// A target outside the vocabulary has a loss of NaN. NaN is no best logit.
KERNEL cross_entropy_forward(
    const float* logits, const u32* targets, float* losses, float* lse, u32* best, u32 rows,
    u32 vocab
) {
    u32 lane = threadIdx.x % WARP;
    size_t row = (size_t)blockIdx.x * CROSS_ENTROPY_WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    logits += row * vocab;
    float high = negative_infinity();
    u32 id = ~0u;
#pragma unroll 4
    for (u32 i = lane; i < vocab; i += WARP) {
        float x = logits[i];
        if (x > high) high = x, id = i;
    }
    for (u32 step = WARP / 2; step > 0; step /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, high, step);
        u32 other_id = __shfl_xor_sync(ALL_LANES, id, step);
        if (other > high || (other == high && other_id < id)) high = other, id = other_id;
    }
    float sum = 0.0f;
#pragma unroll 4
    for (u32 i = lane; i < vocab; i += WARP) sum += expf(logits[i] - high);
    sum = warp_sum(sum);
    if (lane == 0) {
        u32 target = targets[row];
        float all = high + logf(sum);
        lse[row] = all;
        losses[row] = target < vocab ? all - logits[target] : __int_as_float(0x7fc00000);
        best[row] = id == ~0u ? 0 : id;
    }
}

KERNEL cross_entropy_backward(
    const float* logits, const u32* targets, const float* lse, const float* weights,
    const float* factor, float* grad_logits, u32 rows, u32 vocab
) {
    size_t row = (size_t)blockIdx.x * CROSS_ENTROPY_WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    logits += row * vocab;
    grad_logits += row * vocab;
    u32 target = targets[row];
    float all = lse[row], weight = weights[row] * factor[0];
#pragma unroll 4
    for (u32 i = threadIdx.x % WARP; i < vocab; i += WARP)
        grad_logits[i] = weight * (expf(logits[i] - all) - (i == target ? 1.0f : 0.0f));
}

// Sum over the threads of a block, in a fixed order; in thread 0 only.
__device__ inline double cross_entropy_block_sum(double x) {
    __shared__ double parts[CROSS_ENTROPY_BLOCK / WARP];
    for (u32 step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    double sum = 0.0;
    if (threadIdx.x == 0)
        for (u32 i = 0; i < CROSS_ENTROPY_BLOCK / WARP; i++) sum += parts[i];
    return sum;
}

KERNEL cross_entropy_weighted_sums(const float* x, const float* weights, double* parts, u32 n) {
    size_t first = (size_t)blockIdx.x * CROSS_ENTROPY_PRODUCTS + threadIdx.x;
    double sum = 0.0;
#pragma unroll 8
    for (u32 j = 0; j < CROSS_ENTROPY_PRODUCTS / CROSS_ENTROPY_BLOCK; j++) {
        size_t i = first + j * CROSS_ENTROPY_BLOCK;
        if (i < n) sum += (double)x[i] * (double)weights[i];
    }
    sum = cross_entropy_block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

KERNEL cross_entropy_sum_parts(const double* parts, float* out, u32 n) {
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < n; i += CROSS_ENTROPY_BLOCK) sum += parts[i];
    sum = cross_entropy_block_sum(sum);
    if (threadIdx.x == 0) out[0] = (float)sum;
}
