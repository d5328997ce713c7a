// Products of tiles in shared memory, for kernels of 1-D blocks of TILE_THREADS threads.
//
// A tile has 32 columns and rows of TILE_STRIDE floats, so that eight rows read at the same column,
// 16 bytes each, lie in different banks. Results have 64 rows, 16 per warp: a thread owns rows
// tile_row(0..4) and, of products, the columns 4 tile_lane() + 0..4; of dot products, the columns
// tile_lane() + 8 j. A row of a result is thus owned by the eight threads with its lanes' upper bits,
// all of one warp. What a warp hands to itself through its rows of WEIGHTS_STRIDE floats needs
// __syncwarp only.

#define TILE_THREADS 128
#define TILE_ROWS 64
#define TILE_COLUMNS 32
#define TILE_STRIDE 36
// Floats of a tile.
#define TILE_SIZE(rows) ((rows) * TILE_STRIDE)
// Rows of weights: four rows written at once, eight floats each, lie in different banks.
#define TILE_WEIGHTS_STRIDE(columns) ((columns) + 8)

// Registers for so many blocks at a time on each multiprocessor.
#define TILE_BLOCKS(n) __launch_bounds__(TILE_THREADS, n)

__device__ inline u32 tile_first_row_of_warp() { return threadIdx.x / WARP * 16; }

__device__ inline u32 tile_row(u32 i) {
    return tile_first_row_of_warp() + threadIdx.x % WARP / 8 + 4 * i;
}

__device__ inline u32 tile_lane() { return threadIdx.x % 8; }

__device__ inline float4 tile_read4(const float* x) { return *(const float4*)x; }

// Copies ROWS x 32 elements of a matrix whose rows are `stride` floats apart; 0 beyond `rows` and
// `columns`, both counted from `x`.
template <u32 ROWS>
__device__ inline void tile_load(float* tile, const float* x, size_t stride, u32 rows, u32 columns) {
    u32 column = threadIdx.x % TILE_COLUMNS;
#pragma unroll 8
    for (u32 i = 0; i < ROWS / (TILE_THREADS / TILE_COLUMNS); i++) {
        u32 row = threadIdx.x / TILE_COLUMNS + i * (TILE_THREADS / TILE_COLUMNS);
        tile[row * TILE_STRIDE + column] =
            row < rows && column < columns ? x[row * stride + column] : 0.0f;
    }
}

// The same, transposed: ROWS columns of the matrix become rows of the tile.
template <u32 ROWS>
__device__ inline void tile_load_transposed(
    float* tile, const float* x, size_t stride, u32 rows, u32 columns) {
    static_assert(ROWS == WARP, "a row of the matrix is read by a warp");
    u32 column = threadIdx.x % ROWS;
#pragma unroll
    for (u32 i = 0; i < TILE_COLUMNS / (TILE_THREADS / ROWS); i++) {
        u32 row = threadIdx.x / ROWS + i * (TILE_THREADS / ROWS);
        tile[column * TILE_STRIDE + row] =
            row < rows && column < columns ? x[row * stride + column] : 0.0f;
    }
}

// sums[i][j] += x[tile_row(i)] . y[tile_lane() + 8 j], over the 32 columns.
template <u32 N>
__device__ inline void tile_dots(float (&sums)[4][N], const float* x, const float* y) {
#pragma unroll 1
    for (u32 k = 0; k < TILE_COLUMNS; k += 4) {
        float4 a[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) a[i] = tile_read4(x + tile_row(i) * TILE_STRIDE + k);
#pragma unroll
        for (u32 j = 0; j < N; j++) {
            float4 b = tile_read4(y + (tile_lane() + 8 * j) * TILE_STRIDE + k);
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                sums[i][j] += a[i].x * b.x;
                sums[i][j] += a[i].y * b.y;
                sums[i][j] += a[i].z * b.z;
                sums[i][j] += a[i].w * b.w;
            }
        }
    }
}

__device__ inline void tile_add_scaled(float (&sum)[4], float a, float4 b) {
    sum[0] += a * b.x;
    sum[1] += a * b.y;
    sum[2] += a * b.z;
    sum[3] += a * b.w;
}

// sums[i][e] += sum of w[tile_row(i)][k] z[k][4 tile_lane() + e] over k in first..end, multiples of 4;
// rows of w are `stride` floats apart, those of z TILE_STRIDE.
__device__ inline void tile_multiply(
    float (&sums)[4][4], const float* w, u32 stride, const float* z, u32 first, u32 end) {
#pragma unroll 1
    for (u32 k = first; k < end; k += 4) {
        float4 a[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) a[i] = tile_read4(w + tile_row(i) * stride + k);
        const float* row = z + k * TILE_STRIDE + 4 * tile_lane();
        float4 b0 = tile_read4(row);
        float4 b1 = tile_read4(row + TILE_STRIDE);
        float4 b2 = tile_read4(row + 2 * TILE_STRIDE);
        float4 b3 = tile_read4(row + 3 * TILE_STRIDE);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            tile_add_scaled(sums[i], a[i].x, b0);
            tile_add_scaled(sums[i], a[i].y, b1);
            tile_add_scaled(sums[i], a[i].z, b2);
            tile_add_scaled(sums[i], a[i].w, b3);
        }
    }
}

// Writes a product's rows, those below `rows`, to a matrix whose rows are `stride` floats apart;
// `aligned` if they start at multiples of 16 bytes and `columns` is a multiple of 4.
__device__ inline void tile_store(
    const float (&sums)[4][4], float* out, size_t stride, u32 rows, u32 columns, bool aligned) {
    u32 column = 4 * tile_lane();
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        u32 row = tile_row(i);
        if (row >= rows || column >= columns) continue;
        float* to = out + row * stride + column;
        if (aligned) {
            *(float4*)to = make_float4(sums[i][0], sums[i][1], sums[i][2], sums[i][3]);
        } else {
#pragma unroll
            for (u32 e = 0; e < 4; e++)
                if (column + e < columns) to[e] = sums[i][e];
        }
    }
}
