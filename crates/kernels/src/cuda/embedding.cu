// Rows picked from a table, and their gradients summed back.
//
// embedding_take_rows:
//   grid ceil(rows / 8); block 8 warps; no shared memory. One warp per row, a lane owns columns
//   lane, lane + 32, ... (of four numbers each, where the width allows it).
// embedding_sum_pieces:
//   grid (pieces, ceil(hidden / 128)); block 128; no shared memory. A thread owns one column of one
//   piece: up to 64 gradients of the same id.
// embedding_sum_ids:
//   grid (vocab, ceil(hidden / 32)); block 8 warps; shared memory 1 KiB. A block owns 32 columns of
//   one id, a thread one column of every eighth piece of it.
// embedding_take_rows_backward:
//   grid ceil(rows / 8); block 8 warps; no shared memory. One warp per row of the table, columns as
//   in embedding_take_rows.

#define EMBEDDING_WARPS 8
#define EMBEDDING_COLUMNS 128

__device__ inline float embedding_nan() { return __int_as_float(0x7fc00000); }

__device__ inline void embedding_fill(float* x, float value) { *x = value; }

__device__ inline void embedding_fill(float4* x, float value) {
    *x = make_float4(value, value, value, value);
}

__device__ inline void embedding_add(float* sum, float x) { *sum += x; }

__device__ inline void embedding_add(float4* sum, float4 x) {
    sum->x += x.x, sum->y += x.y, sum->z += x.z, sum->w += x.w;
}

template <class V>
__device__ inline void embedding_copy_row(
    const float* x, float* out, u32 width, size_t from, size_t to, bool valid
) {
    const V* source = (const V*)x + from * width;
    V* target = (V*)out + to * width;
    for (u32 i = threadIdx.x % WARP; i < width; i += WARP) {
        V value;
        if (valid) value = source[i];
        else embedding_fill(&value, embedding_nan());
        target[i] = value;
    }
}

// Rows picked by indices outside the table are NaN.
KERNEL embedding_take_rows(
    const float* x, const u32* indices, float* out, u32 table_rows, u32 rows, u32 dim
) {
    size_t row = (size_t)blockIdx.x * EMBEDDING_WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    u32 from = indices[row];
    bool valid = from < table_rows;
    if (dim % 4 == 0) embedding_copy_row<float4>(x, out, dim / 4, from, row, valid);
    else embedding_copy_row<float>(x, out, dim, from, row, valid);
}

// Piece `i` is `order[starts[i]..starts[i + 1]]`; `sums: [pieces, hidden]`.
KERNEL embedding_sum_pieces(
    const float* grad, const u32* order, const u32* starts, float* sums, u32 hidden
) {
    u32 c = blockIdx.y * EMBEDDING_COLUMNS + threadIdx.x;
    if (c >= hidden) return;
    u32 piece = blockIdx.x, end = starts[piece + 1];
    float sum = 0.0f;
#pragma unroll 8
    for (u32 i = starts[piece]; i < end; i++) sum += grad[(size_t)order[i] * hidden + c];
    sums[(size_t)piece * hidden + c] = sum;
}

// The pieces of id `i` are `of_ids[i]..of_ids[i + 1]`.
KERNEL embedding_sum_ids(const float* sums, const u32* of_ids, float* grad_table, u32 hidden) {
    __shared__ float parts[EMBEDDING_WARPS][WARP];
    u32 lane = threadIdx.x % WARP, slice = threadIdx.x / WARP;
    u32 c = blockIdx.y * WARP + lane;
    u32 id = blockIdx.x, end = of_ids[id + 1];
    float sum = 0.0f;
    if (c < hidden) {
#pragma unroll 8
        for (u32 i = of_ids[id] + slice; i < end; i += EMBEDDING_WARPS)
            sum += sums[(size_t)i * hidden + c];
    }
    parts[slice][lane] = sum;
    __syncthreads();
    if (slice == 0 && c < hidden) {
        float total = 0.0f;
        for (u32 i = 0; i < EMBEDDING_WARPS; i++) total += parts[i][lane];
        grad_table[(size_t)id * hidden + c] = total;
    }
}

// Number of the ascending `indices` that are below `row`: a warp asks 32 of them at a time.
__device__ inline u32 embedding_count_below(const u32* indices, u32 count, u32 row) {
    u32 lane = threadIdx.x % WARP, low = 0, high = count;
    while (low < high) {
        u32 step = (high - low - 1) / WARP + 1;
        u64 probe = (u64)low + (u64)lane * step;
        bool below = probe < high && indices[probe] < row;
        u32 yes = __popc(__ballot_sync(ALL_LANES, below));
        // Probe `yes - 1` is below, probe `yes` is not.
        if (yes == 0) return low;
        u64 next = (u64)low + (u64)yes * step;
        low += (yes - 1) * step + 1;
        if (next < high) high = (u32)next;
    }
    return low;
}

template <class V>
__device__ inline void embedding_sum_run(
    const float* grad, const u32* indices, u32 count, u32 first, u32 row, float* out, u32 width
) {
    for (u32 c = threadIdx.x % WARP; c < width; c += WARP) {
        V sum;
        embedding_fill(&sum, 0.0f);
        for (u32 i = first; i < count && indices[i] == row; i++)
            embedding_add(&sum, ((const V*)grad)[(size_t)i * width + c]);
        ((V*)out)[(size_t)row * width + c] = sum;
    }
}

KERNEL embedding_take_rows_backward(
    const float* grad, const u32* indices, u32 count, float* out, u32 rows, u32 dim
) {
    size_t row = (size_t)blockIdx.x * EMBEDDING_WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    u32 first = embedding_count_below(indices, count, (u32)row);
    if (dim % 4 == 0)
        embedding_sum_run<float4>(grad, indices, count, first, (u32)row, out, dim / 4);
    else embedding_sum_run<float>(grad, indices, count, first, (u32)row, out, dim);
}
