// Mixture of experts: the router, its balance, and the grouping of slots by expert. At most 256
// experts; expert ids beyond their number count as the last one.
//
// moe_route: grid ceil(tokens / 256); block 256; no shared memory. A thread owns one token.
// moe_route_backward:
//   grid ceil(tokens num_experts / 256); block 256; no shared memory. A thread owns one gradient.
// moe_balance:
//   grid ceil(tokens / 256); block 256; shared memory about 2 KiB. A thread owns one token.
// moe_count: grid ceil(slots / 2048); block 256; shared memory 1 KiB. A block owns 2048 slots.
// moe_scan: grid 1; block 32 warps; shared memory 1 KiB. A warp owns every 32nd expert.
// moe_place:
//   grid ceil(slots / 2048); block 8 warps; shared memory 8 KiB. A block owns 2048 slots, a warp
//   256 of them that follow one another, a lane every 32nd of these.
// moe_gather, moe_combine_backward:
//   grid ceil(slots / 8); block 8 warps; no shared memory. A warp owns one place, a lane columns
//   lane, lane + 32, ... (of four numbers each, where the width allows it).
// moe_combine: grid ceil(tokens / 8); otherwise the same. A warp owns one token.

#define MOE_EXPERTS 256
#define MOE_BLOCK 256
#define MOE_WARPS (MOE_BLOCK / WARP)
#define MOE_SLOTS 2048
#define MOE_OWN (MOE_SLOTS / MOE_BLOCK)

// Whether logit `x` of expert `i` comes before `y` of `j`: the higher first, then the lower index;
// NaN after every number.
__device__ inline bool moe_before(float x, u32 i, float y, u32 j) {
    bool x_nan = x != x, y_nan = y != y;
    if (x_nan || y_nan) return x_nan == y_nan ? i < j : y_nan;
    return x == y ? i < j : x > y;
}

KERNEL moe_route(
    const float* logits, u32* experts, float* weights, u32 tokens, u32 num_experts, u32 k
) {
    size_t token = (size_t)blockIdx.x * MOE_BLOCK + threadIdx.x;
    if (token >= tokens) return;
    logits += token * num_experts;
    experts += token * k;
    weights += token * k;
    float max = 0.0f, last = 0.0f, sum = 0.0f;
    u32 last_expert = 0;
    for (u32 i = 0; i < k; i++) {
        // The first of those that come after the last one taken.
        float best = 0.0f;
        u32 best_expert = num_experts;
        for (u32 e = 0; e < num_experts; e++) {
            float x = logits[e];
            bool free = i == 0 || moe_before(last, last_expert, x, e);
            if (free && (best_expert == num_experts || moe_before(x, e, best, best_expert)))
                best = x, best_expert = e;
        }
        if (i == 0) max = best;
        last = best;
        last_expert = best_expert;
        float weight = expf(best - max);
        sum += weight;
        experts[i] = best_expert;
        weights[i] = weight;
    }
    for (u32 i = 0; i < k; i++) weights[i] /= sum;
}

KERNEL moe_route_backward(
    const u32* experts, const float* weights, const float* grad_weights, float* grad_logits,
    u32 tokens, u32 num_experts, u32 k
) {
    size_t i = (size_t)blockIdx.x * MOE_BLOCK + threadIdx.x;
    if (i >= (size_t)tokens * num_experts) return;
    size_t first = i / num_experts * k;
    u32 expert = (u32)(i % num_experts);
    float mean = 0.0f, weight = 0.0f, grad = 0.0f;
    bool chosen = false;
    for (size_t slot = first; slot < first + k; slot++) {
        float w = weights[slot], g = grad_weights[slot];
        mean += w * g;
        if (experts[slot] == expert) chosen = true, weight = w, grad = g;
    }
    grad_logits[i] = chosen ? weight * (grad - mean) : 0.0f;
}

__device__ inline u32 moe_expert(const u32* experts, size_t slot, u32 num_experts) {
    return min(experts[slot], num_experts - 1);
}

// How many of each block's slots belong to each expert: `counts: [num_experts, blocks]`.
KERNEL moe_count(const u32* experts, u32* counts, u32 slots, u32 num_experts) {
    __shared__ u32 count[MOE_EXPERTS];
    count[threadIdx.x] = 0;
    __syncthreads();
    size_t first = (size_t)blockIdx.x * MOE_SLOTS + threadIdx.x;
    for (u32 j = 0; j < MOE_OWN; j++) {
        size_t slot = first + j * MOE_BLOCK;
        // Whole numbers: their sum does not depend on the order.
        if (slot < slots) atomicAdd(&count[moe_expert(experts, slot, num_experts)], 1u);
    }
    __syncthreads();
    if (threadIdx.x < num_experts)
        counts[(size_t)threadIdx.x * gridDim.x + blockIdx.x] = count[threadIdx.x];
}

// Sum of `x` over the lanes up to this one, itself included.
__device__ inline u32 moe_warp_scan(u32 x) {
    u32 lane = threadIdx.x % WARP;
    for (u32 step = 1; step < WARP; step *= 2) {
        u32 other = __shfl_up_sync(ALL_LANES, x, step);
        if (lane >= step) x += other;
    }
    return x;
}

// Replaces the counts of each expert by their sums over the blocks before, and writes the sums over
// the experts before to `offsets: [num_experts + 1]`.
KERNEL __launch_bounds__(1024) moe_scan(u32* counts, u32* offsets, u32 blocks, u32 num_experts) {
    __shared__ u32 totals[MOE_EXPERTS];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (u32 e = warp; e < num_experts; e += WARP) {
        u32* row = counts + (size_t)e * blocks;
        u32 before = 0;
        for (u32 first = 0; first < blocks; first += WARP) {
            u32 i = first + lane;
            u32 count = i < blocks ? row[i] : 0;
            u32 up_to = moe_warp_scan(count);
            if (i < blocks) row[i] = before + up_to - count;
            before += __shfl_sync(ALL_LANES, up_to, WARP - 1);
        }
        if (lane == 0) totals[e] = before;
    }
    __syncthreads();
    if (warp == 0) {
        u32 before = 0;
        for (u32 first = 0; first < num_experts; first += WARP) {
            u32 e = first + lane;
            u32 total = e < num_experts ? totals[e] : 0;
            u32 up_to = moe_warp_scan(total);
            if (e < num_experts) offsets[e] = before + up_to - total;
            before += __shfl_sync(ALL_LANES, up_to, WARP - 1);
        }
        if (lane == 0) offsets[num_experts] = before;
    }
}

// `before: [num_experts, blocks]` and `offsets` are what moe_scan writes.
KERNEL moe_place(
    const u32* experts, const u32* before, const u32* offsets, u32* slots_at, u32* places,
    u32 slots, u32 num_experts
) {
    // First how many slots of each expert a warp has, then the place of its next one.
    __shared__ u32 next[MOE_WARPS][MOE_EXPERTS];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (u32 w = 0; w < MOE_WARPS; w++) next[w][threadIdx.x] = 0;
    __syncthreads();
    size_t first = (size_t)blockIdx.x * MOE_SLOTS + warp * (MOE_SLOTS / MOE_WARPS) + lane;
    u32 expert[MOE_OWN], same[MOE_OWN];
    u32 lower_lanes = (1u << lane) - 1;
#pragma unroll
    for (u32 j = 0; j < MOE_OWN; j++) {
        size_t slot = first + j * WARP;
        bool valid = slot < slots;
        // Lanes beyond the end are alike, and like no other.
        expert[j] = valid ? moe_expert(experts, slot, num_experts) : MOE_EXPERTS;
        same[j] = __match_any_sync(ALL_LANES, expert[j]);
        if (valid && (same[j] & lower_lanes) == 0) next[warp][expert[j]] += __popc(same[j]);
        __syncwarp();
    }
    __syncthreads();
    if (threadIdx.x < num_experts) {
        u32 place = offsets[threadIdx.x] + before[(size_t)threadIdx.x * gridDim.x + blockIdx.x];
        for (u32 w = 0; w < MOE_WARPS; w++) {
            u32 count = next[w][threadIdx.x];
            next[w][threadIdx.x] = place;
            place += count;
        }
    }
    __syncthreads();
#pragma unroll
    for (u32 j = 0; j < MOE_OWN; j++) {
        size_t slot = first + j * WARP;
        bool valid = slot < slots;
        u32 lower = same[j] & lower_lanes;
        u32 start = valid ? next[warp][expert[j]] : 0;
        __syncwarp();
        if (valid) {
            u32 place = start + __popc(lower);
            slots_at[place] = (u32)slot;
            places[slot] = place;
            if (lower == 0) next[warp][expert[j]] = start + __popc(same[j]);
        }
        __syncwarp();
    }
}

// Sum over the threads of a block, in a fixed order; in thread 0 only.
__device__ inline double moe_block_sum(double x) {
    __shared__ double parts[MOE_WARPS];
    for (u32 step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    double sum = 0.0;
    if (threadIdx.x == 0)
        for (u32 i = 0; i < MOE_WARPS; i++) sum += parts[i];
    return sum;
}

// `parts` are the blocks' parts of the loss.
KERNEL moe_balance(
    const float* logits, const u32* offsets, float* grad, double* parts, u32 tokens, u32 num_experts
) {
    __shared__ double share[MOE_EXPERTS];
    if (threadIdx.x < num_experts) {
        u32 count = offsets[threadIdx.x + 1] - offsets[threadIdx.x];
        share[threadIdx.x] = (double)count / (double)max(offsets[num_experts], 1u);
    }
    __syncthreads();
    size_t token = (size_t)blockIdx.x * MOE_BLOCK + threadIdx.x;
    double factor = (double)num_experts / (double)tokens, loss = 0.0;
    if (token < tokens) {
        logits += token * num_experts;
        grad += token * num_experts;
        float max = negative_infinity();
        for (u32 e = 0; e < num_experts; e++) max = fmaxf(max, logits[e]);
        double sum = 0.0, mean = 0.0;
        for (u32 e = 0; e < num_experts; e++) {
            double p = exp((double)(logits[e] - max));
            sum += p;
            mean += p * share[e];
        }
        mean /= sum;
        loss = factor * mean;
        for (u32 e = 0; e < num_experts; e++) {
            double p = exp((double)(logits[e] - max)) / sum;
            grad[e] = (float)(factor * p * (share[e] - mean));
        }
    }
    loss = moe_block_sum(loss);
    if (threadIdx.x == 0) parts[blockIdx.x] = loss;
}

__device__ inline float moe_scaled(float weight, float x) { return weight * x; }

__device__ inline float4 moe_scaled(float weight, float4 x) {
    return make_float4(weight * x.x, weight * x.y, weight * x.z, weight * x.w);
}

__device__ inline float moe_sum(float x, float y) { return x + y; }

__device__ inline float4 moe_sum(float4 x, float4 y) {
    return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}

__device__ inline float moe_dot(float x, float y) { return x * y; }

__device__ inline float moe_dot(float4 x, float4 y) {
    return x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
}

template <class V>
__device__ inline void moe_copy_row(const float* x, float* out, size_t from, size_t to, u32 width) {
    const V* source = (const V*)x + from * width;
    V* target = (V*)out + to * width;
    for (u32 c = threadIdx.x % WARP; c < width; c += WARP) target[c] = source[c];
}

KERNEL moe_gather(const float* x, const u32* slots_at, float* out, u32 slots, u32 k, u32 dim) {
    size_t place = (size_t)blockIdx.x * MOE_WARPS + threadIdx.x / WARP;
    if (place >= slots) return;
    u32 token = slots_at[place] / k;
    if (dim % 4 == 0) moe_copy_row<float4>(x, out, token, place, dim / 4);
    else moe_copy_row<float>(x, out, token, place, dim);
}

// `weights` of this token, or null.
template <class V>
__device__ inline void moe_combine_row(
    const float* y, const u32* places, const float* weights, float* out, u32 k, u32 width
) {
    for (u32 c = threadIdx.x % WARP; c < width; c += WARP) {
        V sum;
#pragma unroll 2
        for (u32 i = 0; i < k; i++) {
            V value = ((const V*)y)[(size_t)places[i] * width + c];
            if (weights) value = moe_scaled(weights[i], value);
            sum = i == 0 ? value : moe_sum(sum, value);
        }
        ((V*)out)[c] = sum;
    }
}

KERNEL moe_combine(
    const float* y, const u32* places, const float* weights, float* out, u32 tokens, u32 k, u32 dim
) {
    size_t token = (size_t)blockIdx.x * MOE_WARPS + threadIdx.x / WARP;
    if (token >= tokens) return;
    places += token * k;
    out += token * dim;
    if (weights) weights += token * k;
    if (dim % 4 == 0) moe_combine_row<float4>(y, places, weights, out, k, dim / 4);
    else moe_combine_row<float>(y, places, weights, out, k, dim);
}

// Writes `grad_y = weight grad` and returns the lane's part of `y . grad`.
template <class V>
__device__ inline float moe_combine_row_backward(
    const float* y, const float* grad, float weight, float* grad_y, u32 width
) {
    float dot = 0.0f;
    for (u32 c = threadIdx.x % WARP; c < width; c += WARP) {
        V g = ((const V*)grad)[c];
        ((V*)grad_y)[c] = moe_scaled(weight, g);
        dot += moe_dot(((const V*)y)[c], g);
    }
    return dot;
}

KERNEL moe_combine_backward(
    const float* y, const u32* slots_at, const float* weights, const float* grad, float* grad_y,
    float* grad_weights, u32 slots, u32 k, u32 dim
) {
    size_t place = (size_t)blockIdx.x * MOE_WARPS + threadIdx.x / WARP;
    if (place >= slots) return;
    u32 slot = slots_at[place];
    y += place * dim;
    grad_y += place * dim;
    grad += (size_t)(slot / k) * dim;
    float dot = dim % 4 == 0
        ? moe_combine_row_backward<float4>(y, grad, weights[slot], grad_y, dim / 4)
        : moe_combine_row_backward<float>(y, grad, weights[slot], grad_y, dim);
    dot = warp_sum(dot);
    if (threadIdx.x % WARP == 0) grad_weights[slot] = dot;
}
