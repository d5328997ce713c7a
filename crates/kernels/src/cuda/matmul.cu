// Matrix products, register-tiled.
//
// Blocks of 256 threads own a tile of `TILE` (64 or 128) x 64 elements of the result, a thread
// 4 x 4 or 8 x 4 of them: its rows are 4 neighbours in each 64 rows of the tile, its columns 4
// neighbours. Shared memory holds slices of both operands, 16 deep and twice, so that the next
// slice is fetched while this one is multiplied: 25 KiB with 128 rows, 17 KiB with 64. Every
// element of a result is one chain of fused multiply-adds in the order of the depth.
//
// Grouped products: grid [row tiles * column tiles, 1, 1], the column tile running fastest. The
// runs of the groups are known on the GPU only, so each block looks for its own group and rows;
// blocks beyond the last tile have nothing to do.

#define MATMUL_THREADS 256u
#define MATMUL_DEPTH 16u
#define MATMUL_ROWS 128u
#define MATMUL_COLS 64u

// An operand from the first row (or column) of a tile on: element (i, d), d along the depth, is at
// `i * stride + d` if the memory runs along the depth, else at `d * stride + i`. There are `extent`
// values of i; the rest of the tile is 0.
struct MatmulOperand {
    const float* from;
    u32 stride;
    u32 extent;
};

// Rows `begin..end` of the result, all of `group`.
struct MatmulRun {
    u32 group;
    u32 begin;
    u32 end;
};

// The 4 numbers from `from` on, of which `left > 0` exist. `wide`: `from` is a multiple of 16.
__device__ inline float4 matmul_load(const float* from, u32 left, bool wide) {
    if (wide && left >= 4) return *(const float4*)from;
    float4 x = make_float4(from[0], 0.0f, 0.0f, 0.0f);
    if (left > 1) x.y = from[1];
    if (left > 2) x.z = from[2];
    if (left > 3) x.w = from[3];
    return x;
}

// Where in a slice the `part`-th 4 numbers of this thread are: neighbours in memory are neighbours
// in the warp.
template <int TILE, bool ALONG_DEPTH>
__device__ inline void matmul_place(u32 part, u32& i, u32& d) {
    u32 piece = part * MATMUL_THREADS + threadIdx.x;
    if (ALONG_DEPTH) {
        i = piece / (MATMUL_DEPTH / 4);
        d = piece % (MATMUL_DEPTH / 4) * 4;
    } else {
        i = piece % (TILE / 4) * 4;
        d = piece / (TILE / 4);
    }
}

// This thread's share of the slice from `first` on, of `depth`.
template <int TILE, bool ALONG_DEPTH>
__device__ inline void matmul_fetch(const MatmulOperand& operand, u32 first, u32 depth,
                                    float4 (&share)[TILE / 64]) {
    bool wide = operand.stride % 4 == 0;
#pragma unroll
    for (u32 part = 0; part < TILE / 64; part++) {
        u32 i, d;
        matmul_place<TILE, ALONG_DEPTH>(part, i, d);
        d += first;
        share[part] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (i >= operand.extent || d >= depth) continue;
        size_t at = ALONG_DEPTH ? (size_t)i * operand.stride + d : (size_t)d * operand.stride + i;
        u32 left = ALONG_DEPTH ? depth - d : operand.extent - i;
        share[part] = matmul_load(operand.from + at, left, wide);
    }
}

template <int TILE, bool ALONG_DEPTH>
__device__ inline void matmul_keep(const float4 (&share)[TILE / 64], float (*slice)[TILE + 4]) {
#pragma unroll
    for (u32 part = 0; part < TILE / 64; part++) {
        u32 i, d;
        matmul_place<TILE, ALONG_DEPTH>(part, i, d);
        if (ALONG_DEPTH) {
            slice[d][i] = share[part].x;
            slice[d + 1][i] = share[part].y;
            slice[d + 2][i] = share[part].z;
            slice[d + 3][i] = share[part].w;
        } else {
            *(float4*)&slice[d][i] = share[part];
        }
    }
}

// First row and column of this thread in the first 64 x 64 of a tile. A warp has 4 x 8 threads.
__device__ inline u32 matmul_row() { return (threadIdx.x / 64 * 4 + threadIdx.x % WARP / 8) * 4; }

__device__ inline u32 matmul_col() {
    return (threadIdx.x / WARP % 2 * 8 + threadIdx.x % 8) * 4;
}

// `sums[r][c]`: sum over the depth of a(row, d) b(col, d), for row r and column c of this thread.
template <int TILE, bool A_ALONG_DEPTH, bool B_ALONG_DEPTH>
__device__ inline void matmul_tile(const MatmulOperand& a, const MatmulOperand& b, u32 depth,
                                   float (&sums)[TILE / 16][4]) {
    alignas(16) __shared__ float a_slices[2][MATMUL_DEPTH][TILE + 4];
    alignas(16) __shared__ float b_slices[2][MATMUL_DEPTH][MATMUL_COLS + 4];
    float4 a_share[TILE / 64];
    float4 b_share[1];
    u32 row = matmul_row(), col = matmul_col();
#pragma unroll
    for (int r = 0; r < TILE / 16; r++)
#pragma unroll
        for (int c = 0; c < 4; c++) sums[r][c] = 0.0f;
    matmul_fetch<TILE, A_ALONG_DEPTH>(a, 0, depth, a_share);
    matmul_fetch<MATMUL_COLS, B_ALONG_DEPTH>(b, 0, depth, b_share);
    matmul_keep<TILE, A_ALONG_DEPTH>(a_share, a_slices[0]);
    matmul_keep<MATMUL_COLS, B_ALONG_DEPTH>(b_share, b_slices[0]);
    __syncthreads();
    u32 now = 0;
    for (u32 first = 0; first < depth; first += MATMUL_DEPTH, now ^= 1) {
        u32 next = first + MATMUL_DEPTH;
        if (next < depth) {
            matmul_fetch<TILE, A_ALONG_DEPTH>(a, next, depth, a_share);
            matmul_fetch<MATMUL_COLS, B_ALONG_DEPTH>(b, next, depth, b_share);
        }
#pragma unroll
        for (int d = 0; d < MATMUL_DEPTH; d++) {
            float4 x = *(const float4*)&b_slices[now][d][col];
#pragma unroll
            for (int part = 0; part < TILE / 64; part++) {
                float4 y = *(const float4*)&a_slices[now][d][64 * part + row];
                float ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
                for (int r = 0; r < 4; r++) {
                    float* sum = sums[4 * part + r];
                    sum[0] = fmaf(ys[r], x.x, sum[0]);
                    sum[1] = fmaf(ys[r], x.y, sum[1]);
                    sum[2] = fmaf(ys[r], x.z, sum[2]);
                    sum[3] = fmaf(ys[r], x.w, sum[3]);
                }
            }
        }
        // The other slices were last read before the barrier of the round before.
        if (next < depth) {
            matmul_keep<TILE, A_ALONG_DEPTH>(a_share, a_slices[now ^ 1]);
            matmul_keep<MATMUL_COLS, B_ALONG_DEPTH>(b_share, b_slices[now ^ 1]);
        }
        __syncthreads();
    }
}

// Writes a tile from `out` on, a multiple of 16 if `stride` is one of 4; of `height` x `width`.
template <int TILE>
__device__ inline void matmul_write(const float (&sums)[TILE / 16][4], float* out, u32 stride,
                                    u32 height, u32 width) {
    u32 col = matmul_col();
    bool wide = stride % 4 == 0 && col + 4 <= width;
#pragma unroll
    for (int r = 0; r < TILE / 16; r++) {
        u32 row = r / 4 * 64 + matmul_row() + r % 4;
        if (row >= height) continue;
        float* to = out + (size_t)row * stride + col;
        if (wide) {
            *(float4*)to = make_float4(sums[r][0], sums[r][1], sums[r][2], sums[r][3]);
            continue;
        }
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (col + c < width) to[c] = sums[r][c];
    }
}

// Pieces of at most `height` rows in a run.
__device__ inline u32 matmul_pieces(u32 rows, u32 height) {
    return rows / height + (rows % height > 0 ? 1 : 0);
}

// All rows of a group; none of more than `rows` whatever the offsets are.
__device__ inline MatmulRun matmul_group(const u32* offsets, u32 group, u32 rows) {
    u32 begin = min(offsets[group], rows);
    return {group, begin, max(begin, min(offsets[group + 1], rows))};
}

// The `piece`-th of the pieces of `height` rows that the runs of the groups are cut into, each from
// its begin on; whether there is one.
__device__ inline bool matmul_find(const u32* offsets, u32 groups, u32 rows, u32 height, u32 piece,
                                   MatmulRun& run) {
    for (u32 group = 0; group < groups; group++) {
        run = matmul_group(offsets, group, rows);
        u32 pieces = matmul_pieces(run.end - run.begin, height);
        if (piece < pieces) {
            run.begin += piece * height;
            if (run.end - run.begin > height) run.end = run.begin + height;
            return true;
        }
        piece -= pieces;
    }
    return false;
}

// out = x W_g^T: [rows, n] from x [rows, k] and w [groups, n, k].
KERNEL __launch_bounds__(MATMUL_THREADS, 2)
    matmul_linear(const float* x, const float* w, const u32* offsets, u32 groups, u32 rows, u32 n,
                  u32 k, float* out) {
    u32 col_tiles = matmul_pieces(n, MATMUL_COLS);
    u32 col = blockIdx.x % col_tiles * MATMUL_COLS;
    MatmulRun run;
    if (!matmul_find(offsets, groups, rows, MATMUL_ROWS, blockIdx.x / col_tiles, run)) return;
    u32 height = run.end - run.begin, width = min(n - col, MATMUL_COLS);
    MatmulOperand a = {x + (size_t)run.begin * k, k, height};
    MatmulOperand b = {w + ((size_t)run.group * n + col) * k, k, width};
    float sums[MATMUL_ROWS / 16][4];
    matmul_tile<MATMUL_ROWS, true, true>(a, b, k, sums);
    matmul_write<MATMUL_ROWS>(sums, out + (size_t)run.begin * n + col, n, height, width);
}

// out = grad W_g: [rows, k] from grad [rows, n] and w [groups, n, k].
KERNEL __launch_bounds__(MATMUL_THREADS, 2)
    matmul_grad_x(const float* grad, const float* w, const u32* offsets, u32 groups, u32 rows,
                  u32 n, u32 k, float* out) {
    u32 col_tiles = matmul_pieces(k, MATMUL_COLS);
    u32 col = blockIdx.x % col_tiles * MATMUL_COLS;
    MatmulRun run;
    if (!matmul_find(offsets, groups, rows, MATMUL_ROWS, blockIdx.x / col_tiles, run)) return;
    u32 height = run.end - run.begin, width = min(k - col, MATMUL_COLS);
    MatmulOperand a = {grad + (size_t)run.begin * n, n, height};
    MatmulOperand b = {w + (size_t)run.group * n * k + col, k, width};
    float sums[MATMUL_ROWS / 16][4];
    matmul_tile<MATMUL_ROWS, true, false>(a, b, n, sums);
    matmul_write<MATMUL_ROWS>(sums, out + (size_t)run.begin * k + col, k, height, width);
}

// One piece of `piece_rows` rows of grad^T x: partial [pieces, n, k]. Grid [pieces * tiles of
// [n, k], 1, 1], the tile running fastest.
KERNEL __launch_bounds__(MATMUL_THREADS, 2)
    matmul_grad_w(const float* grad, const float* x, const u32* offsets, u32 groups, u32 rows,
                  u32 n, u32 k, u32 piece_rows, float* partial) {
    u32 col_tiles = matmul_pieces(k, MATMUL_COLS);
    u32 tiles = matmul_pieces(n, MATMUL_ROWS) * col_tiles;
    u32 piece = blockIdx.x / tiles, tile = blockIdx.x % tiles;
    u32 row = tile / col_tiles * MATMUL_ROWS, col = tile % col_tiles * MATMUL_COLS;
    MatmulRun run;
    if (!matmul_find(offsets, groups, rows, piece_rows, piece, run)) return;
    u32 height = min(n - row, MATMUL_ROWS), width = min(k - col, MATMUL_COLS);
    MatmulOperand a = {grad + (size_t)run.begin * n + row, n, height};
    MatmulOperand b = {x + (size_t)run.begin * k + col, k, width};
    float sums[MATMUL_ROWS / 16][4];
    matmul_tile<MATMUL_ROWS, false, false>(a, b, run.end - run.begin, sums);
    float* out = partial + ((size_t)piece * n + row) * k + col;
    matmul_write<MATMUL_ROWS>(sums, out, k, height, width);
}

// The sum of each group's pieces, `size` = n k elements: grid [ceil(size / 32), groups, 1], 256
// threads. A warp owns 32 elements of every 8th piece; then the 8 sums are added in order.
KERNEL matmul_grad_w_sum(const float* partial, const u32* offsets, u32 rows, u32 size,
                         u32 piece_rows, float* out) {
    __shared__ float sums[MATMUL_THREADS / WARP][WARP];
    u32 first = 0;
    for (u32 group = 0; group < blockIdx.y; group++) {
        MatmulRun run = matmul_group(offsets, group, rows);
        first += matmul_pieces(run.end - run.begin, piece_rows);
    }
    MatmulRun run = matmul_group(offsets, blockIdx.y, rows);
    u32 end = first + matmul_pieces(run.end - run.begin, piece_rows);
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u64 i = (u64)blockIdx.x * WARP + lane;
    float sum = 0.0f;
    if (i < size)
#pragma unroll 4
        for (u32 piece = first + warp; piece < end; piece += MATMUL_THREADS / WARP)
            sum += partial[(u64)piece * size + i];
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || i >= size) return;
    for (u32 w = 1; w < MATMUL_THREADS / WARP; w++) sum += sums[w][lane];
    out[(u64)blockIdx.y * size + i] = sum;
}
