// Muon. Matrices come one after another, [count, rows, cols], each `blocks` (up to 256) blocks or
// a number of tiles, the matrix running slowest in a grid [count * blocks or tiles, 1, 1]. Blocks
// have 256 threads. The momentum and the norm: a thread owns every (256 blocks)-th element of a
// matrix. The products: tiles of 64 x 64 as in matmul.cu, 17 KiB of shared memory.

#define MUON_TILE 64u

// m = momentum m + g,  x = momentum m + g,  sums[block]: the sum of squares of the block's x.
KERNEL muon_momentum(const float* gradient, float grad_scale, float momentum, u32 size, u32 blocks,
                     float* m, float* x, double* sums) {
    size_t matrix = (size_t)(blockIdx.x / blocks) * size;
    u32 step = blocks * ELEMENTWISE_THREADS;
    double sum = 0.0;
    for (size_t i = blockIdx.x % blocks * ELEMENTWISE_THREADS + threadIdx.x; i < size; i += step) {
        float g = grad_scale * gradient[matrix + i];
        float new_m = momentum * m[matrix + i] + g;
        float new_x = momentum * new_m + g;
        m[matrix + i] = new_m;
        x[matrix + i] = new_x;
        sum += (double)new_x * (double)new_x;
    }
    sum = elementwise_block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Divides each matrix by its norm, the root of the sum of its `blocks` sums; zeros stay.
KERNEL muon_normalize(float* x, const double* sums, u32 size, u32 blocks) {
    __shared__ float shared_factor;
    size_t matrix = blockIdx.x / blocks;
    double sum = threadIdx.x < blocks ? sums[matrix * blocks + threadIdx.x] : 0.0;
    sum = elementwise_block_sum(sum);
    if (threadIdx.x == 0) shared_factor = (float)(1.0 / (sqrt(sum) + 1e-20));
    __syncthreads();
    float factor = shared_factor;
    u32 step = blocks * ELEMENTWISE_THREADS;
    for (size_t i = blockIdx.x % blocks * ELEMENTWISE_THREADS + threadIdx.x; i < size; i += step)
        x[matrix * size + i] *= factor;
}

// The matrix, and the first row and column, of a block's tile of [height, width].
struct MuonTile {
    size_t matrix;
    u32 row;
    u32 col;
};

__device__ inline MuonTile muon_tile(u32 height, u32 width) {
    u32 col_tiles = matmul_pieces(width, MUON_TILE);
    u32 tiles = matmul_pieces(height, MUON_TILE) * col_tiles;
    u32 tile = blockIdx.x % tiles;
    return {blockIdx.x / tiles, tile / col_tiles * MUON_TILE, tile % col_tiles * MUON_TILE};
}

// gram = x x^T of x [rows, cols]
KERNEL __launch_bounds__(MATMUL_THREADS)
    muon_gram_of_rows(const float* x, u32 rows, u32 cols, float* gram) {
    MuonTile at = muon_tile(rows, rows);
    u32 height = min(rows - at.row, MUON_TILE), width = min(rows - at.col, MUON_TILE);
    x += at.matrix * rows * cols;
    MatmulOperand a = {x + (size_t)at.row * cols, cols, height};
    MatmulOperand b = {x + (size_t)at.col * cols, cols, width};
    float sums[MUON_TILE / 16][4];
    matmul_tile<MUON_TILE, true, true>(a, b, cols, sums);
    gram += (at.matrix * rows + at.row) * rows + at.col;
    matmul_write<MUON_TILE>(sums, gram, rows, height, width);
}

// gram = x^T x of x [rows, cols]
KERNEL __launch_bounds__(MATMUL_THREADS)
    muon_gram_of_cols(const float* x, u32 rows, u32 cols, float* gram) {
    MuonTile at = muon_tile(cols, cols);
    u32 height = min(cols - at.row, MUON_TILE), width = min(cols - at.col, MUON_TILE);
    x += at.matrix * rows * cols;
    MatmulOperand a = {x + at.row, cols, height};
    MatmulOperand b = {x + at.col, cols, width};
    float sums[MUON_TILE / 16][4];
    matmul_tile<MUON_TILE, false, false>(a, b, rows, sums);
    gram += (at.matrix * cols + at.row) * cols + at.col;
    matmul_write<MUON_TILE>(sums, gram, cols, height, width);
}

// This tile of lhs [rows, depth] rhs [depth, cols].
__device__ inline void muon_product_tile(const float* lhs, const float* rhs, u32 rows, u32 depth,
                                         u32 cols, const MuonTile& at,
                                         float (&sums)[MUON_TILE / 16][4]) {
    const float* from_a = lhs + (at.matrix * rows + at.row) * depth;
    const float* from_b = rhs + at.matrix * depth * cols + at.col;
    MatmulOperand a = {from_a, depth, min(rows - at.row, MUON_TILE)};
    MatmulOperand b = {from_b, cols, min(cols - at.col, MUON_TILE)};
    matmul_tile<MUON_TILE, true, false>(a, b, depth, sums);
}

// out = a I + b gram + c gram gram of gram [n, n]
KERNEL __launch_bounds__(MATMUL_THREADS)
    muon_polynomial(const float* gram, u32 n, float a, float b, float c, float* out) {
    MuonTile at = muon_tile(n, n);
    float sums[MUON_TILE / 16][4];
    muon_product_tile(gram, gram, n, n, n, at, sums);
    gram += at.matrix * n * n;
#pragma unroll
    for (int r = 0; r < MUON_TILE / 16; r++) {
        u32 row = at.row + matmul_row() + r;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 col = at.col + matmul_col() + j;
            float of_gram = row < n && col < n ? b * gram[(size_t)row * n + col] : 0.0f;
            sums[r][j] = fmaf(c, sums[r][j], of_gram) + (row == col ? a : 0.0f);
        }
    }
    u32 height = min(n - at.row, MUON_TILE), width = min(n - at.col, MUON_TILE);
    out += (at.matrix * n + at.row) * n + at.col;
    matmul_write<MUON_TILE>(sums, out, n, height, width);
}

// out = lhs rhs of lhs [rows, depth] and rhs [depth, cols]
KERNEL __launch_bounds__(MATMUL_THREADS)
    muon_product(const float* lhs, const float* rhs, u32 rows, u32 depth, u32 cols, float* out) {
    MuonTile at = muon_tile(rows, cols);
    float sums[MUON_TILE / 16][4];
    muon_product_tile(lhs, rhs, rows, depth, cols, at, sums);
    u32 height = min(rows - at.row, MUON_TILE), width = min(cols - at.col, MUON_TILE);
    out += (at.matrix * rows + at.row) * cols + at.col;
    matmul_write<MUON_TILE>(sums, out, cols, height, width);
}
