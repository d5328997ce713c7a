// RMSNorm, plain and with a sigmoid gate. A warp owns a row, a lane columns lane, lane + 32, ...
//
// rms_norm_forward, rms_norm_gated:
//   grid ceil(rows / 8); block 8 warps; no shared memory.
// rms_norm_backward, rms_norm_gated_backward:
//   grid (ceil(rows / 64), ceil(dim / 256)); block 8 warps; shared memory 8 KiB.
//   A block owns 64 rows of 256 columns, a warp every eighth of these rows. For the sums a warp
//   reads all columns of a row. What its rows add to the weight's gradient stays in registers.
// rms_norm_sum_blocks:
//   grid ceil(dim / 32); block 32 warps; shared memory 4 KiB. A thread owns one column of every
//   32nd block of rows.

#define RMS_NORM_WARPS 8
#define RMS_NORM_ROWS 64
#define RMS_NORM_COLUMNS 256
#define RMS_NORM_OWN (RMS_NORM_COLUMNS / WARP)
#define RMS_NORM_SLICES 32

template <bool GATED>
__device__ inline void rms_norm_row(
    const float* x, const float* weight, const float* gate, float eps, float* out, u32 rows, u32 dim
) {
    u32 lane = threadIdx.x % WARP;
    size_t row = (size_t)blockIdx.x * RMS_NORM_WARPS + threadIdx.x / WARP;
    if (row >= rows) return;
    x += row * dim;
    out += row * dim;
    if (GATED) gate += row * dim;
    float squares = 0.0f;
#pragma unroll 4
    for (u32 i = lane; i < dim; i += WARP) squares += x[i] * x[i];
    float r = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
#pragma unroll 4
    for (u32 i = lane; i < dim; i += WARP) {
        float y = x[i] * r * weight[i];
        out[i] = GATED ? y * sigmoid(gate[i]) : y;
    }
}

KERNEL rms_norm_forward(
    const float* x, const float* weight, float eps, float* out, u32 rows, u32 dim
) {
    rms_norm_row<false>(x, weight, 0, eps, out, rows, dim);
}

KERNEL rms_norm_gated(
    const float* x, const float* weight, const float* gate, float eps, float* out, u32 rows, u32 dim
) {
    rms_norm_row<true>(x, weight, gate, eps, out, rows, dim);
}

// `sums: [blocks of rows, dim]` are the blocks' parts of the weight's gradient.
template <bool GATED>
__device__ inline void rms_norm_rows_backward(
    const float* x, const float* weight, const float* gate, float eps, const float* grad,
    float* grad_x, float* grad_gate, float* sums, u32 rows, u32 dim
) {
    __shared__ float parts[RMS_NORM_WARPS][RMS_NORM_COLUMNS];
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    u32 first_column = blockIdx.y * RMS_NORM_COLUMNS + lane;
    float sum[RMS_NORM_OWN];
#pragma unroll
    for (u32 j = 0; j < RMS_NORM_OWN; j++) sum[j] = 0.0f;
    for (u32 i = warp; i < RMS_NORM_ROWS; i += RMS_NORM_WARPS) {
        size_t row = (size_t)blockIdx.x * RMS_NORM_ROWS + i;
        if (row >= rows) break;
        const float *xs = x + row * dim, *gs = grad + row * dim;
        const float* gates = GATED ? gate + row * dim : 0;
        float squares = 0.0f, hx = 0.0f;
#pragma unroll 4
        for (u32 c = lane; c < dim; c += WARP) {
            float gated = GATED ? gs[c] * sigmoid(gates[c]) : gs[c];
            squares += xs[c] * xs[c];
            hx += gated * weight[c] * xs[c];
        }
        float r = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
        float mean = warp_sum(hx) / dim * r * r;
#pragma unroll
        for (u32 j = 0; j < RMS_NORM_OWN; j++) {
            u32 c = first_column + j * WARP;
            if (c < dim) {
                float gated = gs[c];
                if (GATED) {
                    float s = sigmoid(gates[c]);
                    gated *= s;
                    grad_gate[row * dim + c] = gated * (1.0f - s) * xs[c] * r * weight[c];
                }
                grad_x[row * dim + c] = r * (gated * weight[c] - xs[c] * mean);
                sum[j] += gated * r * xs[c];
            }
        }
    }
#pragma unroll
    for (u32 j = 0; j < RMS_NORM_OWN; j++) parts[warp][j * WARP + lane] = sum[j];
    __syncthreads();
    u32 c = blockIdx.y * RMS_NORM_COLUMNS + threadIdx.x;
    if (c < dim) {
        float total = 0.0f;
        for (u32 i = 0; i < RMS_NORM_WARPS; i++) total += parts[i][threadIdx.x];
        sums[(size_t)blockIdx.x * dim + c] = total;
    }
}

KERNEL rms_norm_backward(
    const float* x, const float* weight, float eps, const float* grad, float* grad_x, float* sums,
    u32 rows, u32 dim
) {
    rms_norm_rows_backward<false>(x, weight, 0, eps, grad, grad_x, 0, sums, rows, dim);
}

KERNEL rms_norm_gated_backward(
    const float* x, const float* weight, const float* gate, float eps, const float* grad,
    float* grad_x, float* grad_gate, float* sums, u32 rows, u32 dim
) {
    rms_norm_rows_backward<true>(x, weight, gate, eps, grad, grad_x, grad_gate, sums, rows, dim);
}

KERNEL __launch_bounds__(RMS_NORM_SLICES * WARP) rms_norm_sum_blocks(
    const float* sums, float* grad_weight, u32 blocks, u32 dim
) {
    __shared__ float parts[RMS_NORM_SLICES][WARP];
    u32 lane = threadIdx.x % WARP, slice = threadIdx.x / WARP;
    u32 c = blockIdx.x * WARP + lane;
    float sum = 0.0f;
    if (c < dim) {
#pragma unroll 8
        for (u32 i = slice; i < blocks; i += RMS_NORM_SLICES) sum += sums[(size_t)i * dim + c];
    }
    parts[slice][lane] = sum;
    __syncthreads();
    if (slice == 0 && c < dim) {
        float total = 0.0f;
        for (u32 i = 0; i < RMS_NORM_SLICES; i++) total += parts[i][lane];
        grad_weight[c] = total;
    }
}
