// Causal softmax attention, sequences lying one after the other: row r of the queries sees the keys
// first_key[r]..end_key[r]. q, out and their gradients are `[rows, heads, dim]`, k and v
// `[keys, kv_heads, dim]`, lse and delta `[rows, heads]`.
//
// attention_forward           grid [tiles of 64 rows, heads, tiles of 32 columns]
// attention_delta             grid [rows * heads / 8], block 256, no shared memory
// attention_backward_query    grid [tiles of 64 rows, heads, tiles of 32 columns]
// attention_backward_key      grid [tiles of 64 keys, kv_heads, tiles of 32 columns]
//
// Blocks of TILE_THREADS where not said; what a thread owns of products is said in tile.cu. Shared
// memory 28, 37 and 38 KB. Keys, or rows where a block owns keys, go by in tiles of 32; those that
// none of a warp's 16 rows sees cost it nothing. Where a head is wider than 32, each block computes
// the scores of all its columns.

#define ATTENTION_STEP TILE_COLUMNS

// Tile of 32 columns from `column` on of rows `first`.. of one head, 0 from `end` on.
template <u32 ROWS>
__device__ inline void attention_load(
    float* tile, const float* x, u32 first, u32 end, u32 stride, u32 dim, u32 column) {
    tile_load<ROWS>(tile, x + (size_t)first * stride + column, stride, end - first, dim - column);
}

// The same, rows times their factors.
template <u32 ROWS>
__device__ inline void attention_load_scaled(
    float* tile, const float* x, const float* factors, u32 first, u32 end, u32 stride, u32 dim,
    u32 column) {
    u32 c = threadIdx.x % TILE_COLUMNS;
#pragma unroll 8
    for (u32 i = 0; i < ROWS / (TILE_THREADS / TILE_COLUMNS); i++) {
        u32 row = threadIdx.x / TILE_COLUMNS + i * (TILE_THREADS / TILE_COLUMNS);
        tile[row * TILE_STRIDE + c] =
            first + row < end && column + c < dim
                ? factors[first + row] * x[(size_t)(first + row) * stride + column + c]
                : 0.0f;
    }
}

// The largest of the eight threads that own the same rows.
__device__ inline float attention_row_max(float x) {
    for (int step = 4; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

__device__ inline float attention_row_sum(float x) {
    for (int step = 4; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// Number of the first of x[0..count], which does not decrease, that is at least `bound`.
__device__ inline u32 attention_first_at_least(const u32* x, u32 count, u32 bound) {
    u32 first = 0, end = count;
    while (first < end) {
        u32 middle = first + (end - first) / 2;
        if (x[middle] < bound)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

// What each thread knows of its four rows, and its warp of all 16.
struct AttentionRows {
    u32 first_key[4], end_key[4];
    // Keys of any of the warp's rows; none if there are no rows.
    u32 warp_first, warp_end;
};

__device__ inline AttentionRows attention_rows(
    const u32* first_key, const u32* end_key, u32 first_row, u32 end_row) {
    AttentionRows rows;
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = first_row + tile_row(i);
        rows.first_key[i] = row < end_row ? first_key[row] : 0;
        rows.end_key[i] = row < end_row ? end_key[row] : 0;
    }
    u32 warp_row = first_row + tile_first_row_of_warp();
    bool any = warp_row < end_row;
    rows.warp_first = any ? first_key[warp_row] : 0;
    rows.warp_end = any ? end_key[(warp_row + 16 < end_row ? warp_row + 16 : end_row) - 1] : 0;
    return rows;
}

KERNEL TILE_BLOCKS(5) attention_forward(
    const float* q, const float* k, const float* v, const u32* first_key, const u32* end_key,
    const float* scales, float* out, float* lse, u32 num_rows, u32 heads, u32 kv_heads, u32 dim) {
    const u32 weights_stride = TILE_WEIGHTS_STRIDE(ATTENTION_STEP);
    __shared__ float4 memory[(TILE_SIZE(TILE_ROWS) + 2 * TILE_SIZE(ATTENTION_STEP) +
                              TILE_ROWS * TILE_WEIGHTS_STRIDE(ATTENTION_STEP)) / 4];
    float* q_tile = (float*)memory;
    float* k_tile = q_tile + TILE_SIZE(TILE_ROWS);
    float* v_tile = k_tile + TILE_SIZE(ATTENTION_STEP);
    float* weights = v_tile + TILE_SIZE(ATTENTION_STEP);
    u32 head = blockIdx.y, kv_head = head / (heads / kv_heads);
    u32 first_row = blockIdx.x * TILE_ROWS, first_column = blockIdx.z * TILE_COLUMNS;
    u32 end_row = first_row + TILE_ROWS < num_rows ? first_row + TILE_ROWS : num_rows;
    u32 q_stride = heads * dim, k_stride = kv_heads * dim;
    bool narrow = dim <= TILE_COLUMNS;
    q += head * dim, out += head * dim, k += kv_head * dim, v += kv_head * dim;
    AttentionRows rows = attention_rows(first_key, end_key, first_row, end_row);
    u32 keys_end = end_key[end_row - 1];
    float sums[4][4] = {}, maximum[4], total[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) maximum[i] = negative_infinity(), total[i] = 0.0f;
    if (narrow)
        attention_load_scaled<TILE_ROWS>(q_tile, q, scales, first_row, end_row, q_stride, dim, 0);
    for (u32 key = first_key[first_row]; key < keys_end; key += ATTENTION_STEP) {
        bool seen = key < rows.warp_end && key + ATTENTION_STEP > rows.warp_first;
        float scores[4][ATTENTION_STEP / 8] = {};
        __syncthreads();  // The tiles before have been read.
        attention_load<ATTENTION_STEP>(v_tile, v, key, keys_end, k_stride, dim, first_column);
        for (u32 c = 0; c < dim; c += TILE_COLUMNS) {
            if (c > 0) __syncthreads();
            if (!narrow)
                attention_load_scaled<TILE_ROWS>(
                    q_tile, q, scales, first_row, end_row, q_stride, dim, c);
            attention_load<ATTENTION_STEP>(k_tile, k, key, keys_end, k_stride, dim, c);
            __syncthreads();
            if (seen) tile_dots(scores, q_tile, k_tile);
        }
        if (!seen) continue;
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            float largest = negative_infinity();
#pragma unroll
            for (u32 j = 0; j < ATTENTION_STEP / 8; j++) {
                u32 at = key + tile_lane() + 8 * j;
                if (at < rows.first_key[i] || at >= rows.end_key[i])
                    scores[i][j] = negative_infinity();
                largest = fmaxf(largest, scores[i][j]);
            }
            float next = fmaxf(maximum[i], attention_row_max(largest));
            // A row that has seen no key yet keeps a maximum of -inf, total and sums of 0.
            float base = next == negative_infinity() ? 0.0f : next;
            float factor = expf(maximum[i] - base);
            maximum[i] = next;
            float weight_sum = 0.0f;
#pragma unroll
            for (u32 j = 0; j < ATTENTION_STEP / 8; j++) {
                float weight = expf(scores[i][j] - base);
                weights[tile_row(i) * weights_stride + tile_lane() + 8 * j] = weight;
                weight_sum += weight;
            }
            total[i] = factor * total[i] + attention_row_sum(weight_sum);
            for (u32 e = 0; e < 4; e++) sums[i][e] *= factor;
        }
        __syncwarp();
        tile_multiply(sums, weights, weights_stride, v_tile, 0, ATTENTION_STEP);
        // The next tile's first __syncthreads comes before its weights.
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = first_row + tile_row(i);
        for (u32 e = 0; e < 4; e++) sums[i][e] /= total[i];
        if (row < end_row && blockIdx.z == 0 && tile_lane() == 0)
            lse[(size_t)row * heads + head] = maximum[i] + logf(total[i]);
    }
    tile_store(
        sums, out + (size_t)first_row * q_stride + first_column, q_stride, end_row - first_row,
        dim - first_column, dim % 4 == 0);
}

// delta = sum of grad * out over a head of a row. A warp owns one.
KERNEL attention_delta(const float* out, const float* grad, float* delta, u32 count, u32 dim) {
    u32 i = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (i >= count) return;
    float sum = 0.0f;
    for (u32 c = threadIdx.x % WARP; c < dim; c += WARP)
        sum += grad[(size_t)i * dim + c] * out[(size_t)i * dim + c];
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) delta[i] = sum;
}

// The gradient of q: dQ = scale dS K with dS = P * (dO V^T - delta), P = exp(scale Q K^T - lse).
KERNEL TILE_BLOCKS(4) attention_backward_query(
    const float* q, const float* k, const float* v, const u32* first_key, const u32* end_key,
    const float* scales, const float* lse, const float* delta, const float* grad, float* grad_q,
    u32 num_rows, u32 heads, u32 kv_heads, u32 dim) {
    const u32 weights_stride = TILE_WEIGHTS_STRIDE(ATTENTION_STEP);
    __shared__ float4 memory[(2 * TILE_SIZE(TILE_ROWS) + 2 * TILE_SIZE(ATTENTION_STEP) +
                              TILE_ROWS * TILE_WEIGHTS_STRIDE(ATTENTION_STEP)) / 4];
    float* q_tile = (float*)memory;
    float* grad_tile = q_tile + TILE_SIZE(TILE_ROWS);
    float* k_tile = grad_tile + TILE_SIZE(TILE_ROWS);
    float* v_tile = k_tile + TILE_SIZE(ATTENTION_STEP);
    float* weights = v_tile + TILE_SIZE(ATTENTION_STEP);
    u32 head = blockIdx.y, kv_head = head / (heads / kv_heads);
    u32 first_row = blockIdx.x * TILE_ROWS, first_column = blockIdx.z * TILE_COLUMNS;
    u32 end_row = first_row + TILE_ROWS < num_rows ? first_row + TILE_ROWS : num_rows;
    u32 q_stride = heads * dim, k_stride = kv_heads * dim;
    bool narrow = dim <= TILE_COLUMNS;
    q += head * dim, grad += head * dim, grad_q += head * dim;
    k += kv_head * dim, v += kv_head * dim;
    AttentionRows rows = attention_rows(first_key, end_key, first_row, end_row);
    u32 keys_end = end_key[end_row - 1];
    float sums[4][4] = {}, row_lse[4], row_delta[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = first_row + tile_row(i);
        row_lse[i] = row < end_row ? lse[(size_t)row * heads + head] : 0.0f;
        row_delta[i] = row < end_row ? delta[(size_t)row * heads + head] : 0.0f;
    }
    if (narrow) {
        attention_load_scaled<TILE_ROWS>(q_tile, q, scales, first_row, end_row, q_stride, dim, 0);
        attention_load<TILE_ROWS>(grad_tile, grad, first_row, end_row, q_stride, dim, 0);
    }
    for (u32 key = first_key[first_row]; key < keys_end; key += ATTENTION_STEP) {
        bool seen = key < rows.warp_end && key + ATTENTION_STEP > rows.warp_first;
        float scores[4][ATTENTION_STEP / 8] = {}, products[4][ATTENTION_STEP / 8] = {};
        for (u32 c = 0; c < dim; c += TILE_COLUMNS) {
            __syncthreads();  // The tiles before have been read.
            if (!narrow) {
                attention_load_scaled<TILE_ROWS>(
                    q_tile, q, scales, first_row, end_row, q_stride, dim, c);
                attention_load<TILE_ROWS>(grad_tile, grad, first_row, end_row, q_stride, dim, c);
            }
            attention_load<ATTENTION_STEP>(k_tile, k, key, keys_end, k_stride, dim, c);
            attention_load<ATTENTION_STEP>(v_tile, v, key, keys_end, k_stride, dim, c);
            __syncthreads();
            if (!seen) continue;
            tile_dots(scores, q_tile, k_tile);
            tile_dots(products, grad_tile, v_tile);
        }
        if (!narrow) {
            __syncthreads();
            attention_load<ATTENTION_STEP>(k_tile, k, key, keys_end, k_stride, dim, first_column);
            __syncthreads();
        }
        if (!seen) continue;
#pragma unroll
        for (u32 i = 0; i < 4; i++)
#pragma unroll
            for (u32 j = 0; j < ATTENTION_STEP / 8; j++) {
                u32 at = key + tile_lane() + 8 * j;
                bool sees = at >= rows.first_key[i] && at < rows.end_key[i];
                float weight = sees ? expf(scores[i][j] - row_lse[i]) : 0.0f;
                weights[tile_row(i) * weights_stride + tile_lane() + 8 * j] =
                    weight * (products[i][j] - row_delta[i]);
            }
        __syncwarp();
        tile_multiply(sums, weights, weights_stride, k_tile, 0, ATTENTION_STEP);
        // The next tile's first __syncthreads comes before its weights.
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = first_row + tile_row(i);
        float scale = row < end_row ? scales[row] : 0.0f;
        for (u32 e = 0; e < 4; e++) sums[i][e] *= scale;
    }
    tile_store(
        sums, grad_q + (size_t)first_row * q_stride + first_column, q_stride, end_row - first_row,
        dim - first_column, dim % 4 == 0);
}

// The gradients of k and v: dV = P^T dO and dK = dS^T (scale Q), for a tile of keys over the rows
// that see any of them, the query heads that share the key head in order.
KERNEL TILE_BLOCKS(4) attention_backward_key(
    const float* q, const float* k, const float* v, const u32* first_key, const u32* end_key,
    const float* scales, const float* lse, const float* delta, const float* grad, float* grad_k,
    float* grad_v, u32 num_rows, u32 num_keys, u32 heads, u32 kv_heads, u32 dim) {
    const u32 weights_stride = TILE_WEIGHTS_STRIDE(ATTENTION_STEP);
    __shared__ float4 memory[(2 * TILE_SIZE(TILE_ROWS) + 2 * TILE_SIZE(ATTENTION_STEP) +
                              TILE_ROWS * TILE_WEIGHTS_STRIDE(ATTENTION_STEP)) / 4];
    // Of the rows that go by.
    __shared__ u32 row_first[ATTENTION_STEP], row_end[ATTENTION_STEP];
    __shared__ float row_lse[ATTENTION_STEP], row_delta[ATTENTION_STEP];
    float* k_tile = (float*)memory;
    float* v_tile = k_tile + TILE_SIZE(TILE_ROWS);
    float* q_tile = v_tile + TILE_SIZE(TILE_ROWS);
    float* grad_tile = q_tile + TILE_SIZE(ATTENTION_STEP);
    float* weights = grad_tile + TILE_SIZE(ATTENTION_STEP);
    u32 kv_head = blockIdx.y, group = heads / kv_heads;
    u32 first = blockIdx.x * TILE_ROWS, first_column = blockIdx.z * TILE_COLUMNS;
    u32 end = first + TILE_ROWS < num_keys ? first + TILE_ROWS : num_keys;
    u32 q_stride = heads * dim, k_stride = kv_heads * dim;
    bool narrow = dim <= TILE_COLUMNS;
    k += kv_head * dim, v += kv_head * dim, grad_k += kv_head * dim, grad_v += kv_head * dim;
    u32 first_row = attention_first_at_least(end_key, num_rows, first + 1);
    u32 end_row = attention_first_at_least(first_key, num_rows, end);
    float key_sums[4][4] = {}, value_sums[4][4] = {};
    if (narrow) {
        attention_load<TILE_ROWS>(k_tile, k, first, end, k_stride, dim, 0);
        attention_load<TILE_ROWS>(v_tile, v, first, end, k_stride, dim, 0);
    }
    for (u32 head = kv_head * group; head < (kv_head + 1) * group; head++) {
        const float* head_q = q + head * dim;
        const float* head_grad = grad + head * dim;
        for (u32 row = first_row; row < end_row; row += ATTENTION_STEP) {
            float scores[4][ATTENTION_STEP / 8] = {}, products[4][ATTENTION_STEP / 8] = {};
            for (u32 c = 0; c < dim; c += TILE_COLUMNS) {
                __syncthreads();  // The tiles before have been read.
                if (c == 0 && threadIdx.x < ATTENTION_STEP) {
                    u32 i = threadIdx.x, at = row + i;
                    bool is_row = at < end_row;
                    row_first[i] = is_row ? first_key[at] : 0;
                    row_end[i] = is_row ? end_key[at] : 0;
                    row_lse[i] = is_row ? lse[(size_t)at * heads + head] : 0.0f;
                    row_delta[i] = is_row ? delta[(size_t)at * heads + head] : 0.0f;
                }
                if (!narrow) {
                    attention_load<TILE_ROWS>(k_tile, k, first, end, k_stride, dim, c);
                    attention_load<TILE_ROWS>(v_tile, v, first, end, k_stride, dim, c);
                }
                attention_load_scaled<ATTENTION_STEP>(
                    q_tile, head_q, scales, row, end_row, q_stride, dim, c);
                attention_load<ATTENTION_STEP>(
                    grad_tile, head_grad, row, end_row, q_stride, dim, c);
                __syncthreads();
                tile_dots(scores, k_tile, q_tile);
                tile_dots(products, v_tile, grad_tile);
            }
            if (!narrow) {
                __syncthreads();
                attention_load_scaled<ATTENTION_STEP>(
                    q_tile, head_q, scales, row, end_row, q_stride, dim, first_column);
                attention_load<ATTENTION_STEP>(
                    grad_tile, head_grad, row, end_row, q_stride, dim, first_column);
                __syncthreads();
            }
#pragma unroll
            for (u32 i = 0; i < 4; i++)
#pragma unroll
                for (u32 j = 0; j < ATTENTION_STEP / 8; j++) {
                    u32 key = first + tile_row(i), column = tile_lane() + 8 * j;
                    bool sees = key >= row_first[column] && key < row_end[column];
                    float weight = sees ? expf(scores[i][j] - row_lse[column]) : 0.0f;
                    weights[tile_row(i) * weights_stride + column] = weight;
                    products[i][j] = weight * (products[i][j] - row_delta[column]);
                }
            __syncwarp();
            tile_multiply(value_sums, weights, weights_stride, grad_tile, 0, ATTENTION_STEP);
            __syncwarp();
#pragma unroll
            for (u32 i = 0; i < 4; i++)
#pragma unroll
                for (u32 j = 0; j < ATTENTION_STEP / 8; j++)
                    weights[tile_row(i) * weights_stride + tile_lane() + 8 * j] = products[i][j];
            __syncwarp();
            tile_multiply(key_sums, weights, weights_stride, q_tile, 0, ATTENTION_STEP);
            // The next tile's first __syncthreads comes before its weights.
        }
    }
    size_t at = (size_t)first * k_stride + first_column;
    u32 columns = dim - first_column;
    tile_store(key_sums, grad_k + at, k_stride, end - first, columns, dim % 4 == 0);
    tile_store(value_sums, grad_v + at, k_stride, end - first, columns, dim % 4 == 0);
}
