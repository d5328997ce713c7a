// Lightning attention over whole sequences, in chunks of LIGHTNING_CHUNK tokens. The list of chunks
// is `chunks: [chunks][first token, length]`; rows of matrices are `stride` floats apart.
//
// lightning_chunk_state    grid [chunks, heads, 32 x 32 tiles of a state]
// lightning_scan           grid [spans, heads, pieces of a state], block 256
// lightning_forward        grid [chunks, heads, tiles of 32 columns]
// lightning_backward       grid [chunks, heads, 3 (q, k, v) x tiles of 32 columns]
//
// All but the scan: block TILE_THREADS, what a thread owns is said in tile.cu or there. Shared memory
// 18.3 KB for the states, 32 KB for the rows.

#define LIGHTNING_CHUNK TILE_ROWS
// States a thread of the scan reads before it writes the first of them.
#define LIGHTNING_AHEAD 8

// decays[i] = exp(-slope i) for i in 0..=LIGHTNING_CHUNK.
__device__ inline void lightning_decays(float* decays, float slope) {
    if (threadIdx.x <= LIGHTNING_CHUNK) decays[threadIdx.x] = expf(-slope * (float)threadIdx.x);
}

// What one chunk adds to the state, `[dim, dim]`: the sum of factor_i a_i b_i^T, where the factor is
// the decay from the chunk's first token (`from_start`: its gradient, from q and the output's
// gradient) or to its last (the state itself, from k and v). A thread owns 2 x 4 elements of the tile.
KERNEL TILE_BLOCKS(8) lightning_chunk_state(
    const float* a, u32 a_stride, u32 a_head_stride, const float* b, u32 b_stride, u32 b_head_stride,
    const float* slopes, const u32* chunks, float* states, u32 heads, u32 dim, u32 from_start) {
    __shared__ float4 memory[2 * TILE_SIZE(LIGHTNING_CHUNK) / 4];
    __shared__ float decays[LIGHTNING_CHUNK + 1];
    float* left = (float*)memory;
    float* right = left + TILE_SIZE(LIGHTNING_CHUNK);
    u32 chunk = blockIdx.x, head = blockIdx.y;
    u32 tiles = (dim + TILE_COLUMNS - 1) / TILE_COLUMNS;
    u32 first_row = blockIdx.z / tiles * TILE_COLUMNS, first_column = blockIdx.z % tiles * TILE_COLUMNS;
    u32 token = chunks[2 * chunk], len = chunks[2 * chunk + 1];
    a += (size_t)token * a_stride + (size_t)head * a_head_stride + first_row;
    b += (size_t)token * b_stride + (size_t)head * b_head_stride + first_column;
    lightning_decays(decays, slopes[head]);
    tile_load<LIGHTNING_CHUNK>(left, a, a_stride, len, dim - first_row);
    tile_load<LIGHTNING_CHUNK>(right, b, b_stride, len, dim - first_column);
    __syncthreads();
    u32 row = threadIdx.x / 8 * 2, column = threadIdx.x % 8 * 4;
    float sums[2][4] = {};
#pragma unroll 4
    for (u32 i = 0; i < len; i++) {
        float factor = decays[from_start ? i + 1 : len - 1 - i];
        float4 y = tile_read4(right + i * TILE_STRIDE + column);
        tile_add_scaled(sums[0], factor * left[i * TILE_STRIDE + row], y);
        tile_add_scaled(sums[1], factor * left[i * TILE_STRIDE + row + 1], y);
    }
    float* state = states + ((size_t)chunk * heads + head) * dim * dim;
    for (u32 i = 0; i < 2; i++)
        for (u32 e = 0; e < 4; e++) {
            u32 r = first_row + row + i, c = first_column + column + e;
            if (r < dim && c < dim) state[(size_t)r * dim + c] = sums[i][e];
        }
}

// In place: from what each chunk adds to the state before each chunk or, in reverse, to its gradient
// after each chunk, `states: [chunks, heads, dim, dim]`. A thread owns one element of the states of
// one head in one span, whose chunks are first_chunk[span]..first_chunk[span + 1].
KERNEL lightning_scan(
    const float* slopes, const u32* chunks, const u32* first_chunk, float* states, u32 heads,
    u32 size, u32 reverse) {
    u32 span = blockIdx.x, head = blockIdx.y;
    u32 element = blockIdx.z * blockDim.x + threadIdx.x;
    if (element >= size) return;
    u32 first = first_chunk[span], count = first_chunk[span + 1] - first;
    float slope = slopes[head], sum = 0.0f;
    for (u32 done = 0; done < count; done += LIGHTNING_AHEAD) {
        float added[LIGHTNING_AHEAD], decay[LIGHTNING_AHEAD];
#pragma unroll
        for (u32 i = 0; i < LIGHTNING_AHEAD; i++) {
            if (done + i >= count) continue;
            u32 chunk = reverse ? first + count - 1 - done - i : first + done + i;
            added[i] = states[((size_t)chunk * heads + head) * size + element];
            decay[i] = expf(-slope * (float)chunks[2 * chunk + 1]);
        }
#pragma unroll
        for (u32 i = 0; i < LIGHTNING_AHEAD; i++) {
            if (done + i >= count) continue;
            u32 chunk = reverse ? first + count - 1 - done - i : first + done + i;
            states[((size_t)chunk * heads + head) * size + element] = sum;
            sum = decay[i] * sum + added[i];
        }
    }
}

// One matrix of a chunk and head.
struct LightningRows {
    const float* first;
    u32 stride;
};

// 32 columns of a chunk's rows
//
//     out = ((X Y^T) * D) Z + (X * decay) M          M = state or, transposed, its transpose
//
// where D is the decay between tokens i >= j, rows being i; or if `upper`, rows being j.
__device__ inline void lightning_rows(
    LightningRows x, LightningRows y, LightningRows z, const float* state, bool transposed,
    bool upper, float slope, float* out, u32 out_stride, u32 len, u32 dim, u32 first_column) {
    __shared__ float4 memory[(3 * TILE_SIZE(LIGHTNING_CHUNK) + TILE_SIZE(TILE_COLUMNS)) / 4];
    __shared__ float decays[LIGHTNING_CHUNK + 1];
    const u32 weights_stride = TILE_WEIGHTS_STRIDE(LIGHTNING_CHUNK);
    static_assert(
        LIGHTNING_CHUNK * TILE_WEIGHTS_STRIDE(LIGHTNING_CHUNK) <= 2 * TILE_SIZE(LIGHTNING_CHUNK),
        "weights take the place of x and y");
    float* x_tile = (float*)memory;
    float* y_tile = x_tile + TILE_SIZE(LIGHTNING_CHUNK);
    float* weights = x_tile;
    float* z_tile = y_tile + TILE_SIZE(LIGHTNING_CHUNK);
    float* state_tile = z_tile + TILE_SIZE(LIGHTNING_CHUNK);
    u32 columns = dim - first_column;
    lightning_decays(decays, slope);
    tile_load<LIGHTNING_CHUNK>(z_tile, z.first + first_column, z.stride, len, columns);
    float scores[4][LIGHTNING_CHUNK / 8] = {}, sums[4][4] = {};
    for (u32 k = 0; k < dim; k += TILE_COLUMNS) {
        if (k > 0) __syncthreads();  // The tiles before have been read.
        tile_load<LIGHTNING_CHUNK>(x_tile, x.first + k, x.stride, len, dim - k);
        tile_load<LIGHTNING_CHUNK>(y_tile, y.first + k, y.stride, len, dim - k);
        if (transposed)
            tile_load_transposed<TILE_COLUMNS>(
                state_tile, state + (size_t)first_column * dim + k, dim, columns, dim - k);
        else
            tile_load<TILE_COLUMNS>(
                state_tile, state + (size_t)k * dim + first_column, dim, dim - k, columns);
        __syncthreads();
        tile_dots(scores, x_tile, y_tile);
        tile_multiply(sums, x_tile, TILE_STRIDE, state_tile, 0, TILE_COLUMNS);
    }
    __syncthreads();  // Weights overwrite x and y.
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = tile_row(i);
        float decay = row >= len ? 0.0f : decays[upper ? len - 1 - row : row + 1];
        for (u32 e = 0; e < 4; e++) sums[i][e] *= decay;
#pragma unroll
        for (u32 j = 0; j < LIGHTNING_CHUNK / 8; j++) {
            u32 column = tile_lane() + 8 * j;
            bool seen = upper ? column >= row : column <= row;
            u32 distance = upper ? column - row : row - column;
            weights[row * weights_stride + column] = seen ? scores[i][j] * decays[distance] : 0.0f;
        }
    }
    __syncwarp();
    // Beyond the diagonal of the warp's 16 rows there are zeros.
    u32 diagonal = tile_first_row_of_warp();
    u32 first = upper ? diagonal : 0, end = upper ? LIGHTNING_CHUNK : diagonal + 16;
    tile_multiply(sums, weights, weights_stride, z_tile, first, end);
    tile_store(sums, out + first_column, out_stride, len, columns, dim % 4 == 0);
}

// `qkv: [tokens, heads, 3, dim]`, `out: [tokens, heads, dim]`, `states` those before each chunk.
KERNEL TILE_BLOCKS(4) lightning_forward(
    const float* qkv, const float* states, const float* slopes, const u32* chunks, float* out,
    u32 heads, u32 dim) {
    u32 chunk = blockIdx.x, head = blockIdx.y, stride = 3 * heads * dim;
    u32 token = chunks[2 * chunk], len = chunks[2 * chunk + 1];
    const float* q = qkv + ((size_t)token * heads + head) * 3 * dim;
    lightning_rows(
        {q, stride}, {q + dim, stride}, {q + 2 * dim, stride},
        states + ((size_t)chunk * heads + head) * dim * dim, false, false, slopes[head],
        out + ((size_t)token * heads + head) * dim, heads * dim, len, dim,
        blockIdx.z * TILE_COLUMNS);
}

// `grad: [tokens, heads, dim]` of the output, `grad_qkv: [tokens, heads, 3, dim]`, `grad_states` of
// the states after each chunk.
KERNEL TILE_BLOCKS(4) lightning_backward(
    const float* qkv, const float* grad, const float* states, const float* grad_states,
    const float* slopes, const u32* chunks, float* grad_qkv, u32 heads, u32 dim) {
    u32 chunk = blockIdx.x, head = blockIdx.y, stride = 3 * heads * dim;
    u32 tiles = (dim + TILE_COLUMNS - 1) / TILE_COLUMNS;
    u32 part = blockIdx.z / tiles, first_column = blockIdx.z % tiles * TILE_COLUMNS;
    u32 token = chunks[2 * chunk], len = chunks[2 * chunk + 1];
    size_t row = (size_t)token * heads + head, state = ((size_t)chunk * heads + head) * dim * dim;
    LightningRows q = {qkv + row * 3 * dim, stride};
    LightningRows k = {q.first + dim, stride}, v = {q.first + 2 * dim, stride};
    LightningRows g = {grad + row * dim, heads * dim};
    // q: dO V^T D K and dO S^T; k: (dO V^T D)^T Q and V dS^T; v: (Q K^T D)^T dO and K dS.
    LightningRows x = part == 0 ? g : part == 1 ? v : k;
    LightningRows y = part == 0 ? v : part == 1 ? g : q;
    LightningRows z = part == 0 ? k : part == 1 ? q : g;
    lightning_rows(
        x, y, z, (part == 0 ? states : grad_states) + state, part != 2, part != 0, slopes[head],
        grad_qkv + (row * 3 + part) * dim, stride, len, dim, first_column);
}
