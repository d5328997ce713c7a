// Rotary position embedding of `x: [tokens, heads, head_dim]` into `out`.
//
// rope    grid [tokens x threads per token / 256], block 256, no shared memory
//
// A token has rotary_dim / 2 threads, each owning one pair of dimensions in all heads, and one
// thread for each dimension that passes through. `sign` is 1 or -1.

KERNEL rope(
    const u32* positions, const float* frequencies, const float* x, float* out, u32 tokens,
    u32 heads, u32 head_dim, u32 rotary_dim, float sign) {
    u32 half = rotary_dim / 2, threads = head_dim - half;
    u64 thread = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u32 token = (u32)(thread / threads), i = (u32)(thread % threads);
    if (token >= tokens) return;
    size_t first = (size_t)token * heads * head_dim;
    if (i >= half) {
        u32 column = half + i;
        for (u32 head = 0; head < heads; head++)
            out[first + head * head_dim + column] = x[first + head * head_dim + column];
        return;
    }
    // The product is rounded to f32, as models were trained with.
    float angle = __fmul_rn((float)positions[token], frequencies[i]);
    float sin = sign * sinf(angle), cos = cosf(angle);
    for (u32 head = 0; head < heads; head++) {
        size_t low = first + head * head_dim + i, high = low + half;
        float a = x[low], b = x[high];
        out[low] = a * cos - b * sin;
        out[high] = b * cos + a * sin;
    }
}
