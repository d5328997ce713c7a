// SiLU and the gated product of SwiGLU.
//
// Every kernel: grid ceil(quads / 256), where 4 elements are a quad and so are the up to 3 that are
// left; block 256; no shared memory. A thread owns one quad, the last thread what is left.

__device__ inline float activation_silu(float x) { return x * sigmoid(x); }

__device__ inline float activation_silu_slope(float x) {
    float s = sigmoid(x);
    return s * (x * (1.0f - s) + 1.0f);
}

// Calls `f(i)` for each element that this thread owns, of `4 quads + rest`.
template <class F4, class F>
__device__ inline void activation_for_each(u32 quads, u32 rest, F4 f4, F f) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < quads) f4(i);
    if (i == quads)
        for (u32 j = 0; j < rest; j++) f(4 * i + j);
}

KERNEL activation_silu_forward(const float* x, float* out, u32 quads, u32 rest) {
    activation_for_each(
        quads, rest,
        [=](size_t i) {
            float4 v = ((const float4*)x)[i];
            ((float4*)out)[i] = make_float4(
                activation_silu(v.x), activation_silu(v.y), activation_silu(v.z),
                activation_silu(v.w)
            );
        },
        [=](size_t i) { out[i] = activation_silu(x[i]); }
    );
}

KERNEL activation_silu_backward(
    const float* x, const float* grad, float* grad_x, u32 quads, u32 rest
) {
    activation_for_each(
        quads, rest,
        [=](size_t i) {
            float4 v = ((const float4*)x)[i], g = ((const float4*)grad)[i];
            ((float4*)grad_x)[i] = make_float4(
                activation_silu_slope(v.x) * g.x, activation_silu_slope(v.y) * g.y,
                activation_silu_slope(v.z) * g.z, activation_silu_slope(v.w) * g.w
            );
        },
        [=](size_t i) { grad_x[i] = activation_silu_slope(x[i]) * grad[i]; }
    );
}

KERNEL activation_swiglu(const float* gate, const float* up, float* out, u32 quads, u32 rest) {
    activation_for_each(
        quads, rest,
        [=](size_t i) {
            float4 v = ((const float4*)gate)[i], u = ((const float4*)up)[i];
            ((float4*)out)[i] = make_float4(
                activation_silu(v.x) * u.x, activation_silu(v.y) * u.y,
                activation_silu(v.z) * u.z, activation_silu(v.w) * u.w
            );
        },
        [=](size_t i) { out[i] = activation_silu(gate[i]) * up[i]; }
    );
}

__device__ inline void activation_swiglu_slopes(
    float gate, float up, float grad, float* grad_gate, float* grad_up
) {
    float s = sigmoid(gate);
    *grad_up = grad * gate * s;
    *grad_gate = grad * up * (s * (gate * (1.0f - s) + 1.0f));
}

KERNEL activation_swiglu_backward(
    const float* gate, const float* up, const float* grad, float* grad_gate, float* grad_up,
    u32 quads, u32 rest
) {
    activation_for_each(
        quads, rest,
        [=](size_t i) {
            float4 v = ((const float4*)gate)[i], u = ((const float4*)up)[i];
            float4 g = ((const float4*)grad)[i], of_gate, of_up;
            activation_swiglu_slopes(v.x, u.x, g.x, &of_gate.x, &of_up.x);
            activation_swiglu_slopes(v.y, u.y, g.y, &of_gate.y, &of_up.y);
            activation_swiglu_slopes(v.z, u.z, g.z, &of_gate.z, &of_up.z);
            activation_swiglu_slopes(v.w, u.w, g.w, &of_gate.w, &of_up.w);
            ((float4*)grad_gate)[i] = of_gate;
            ((float4*)grad_up)[i] = of_up;
        },
        [=](size_t i) {
            activation_swiglu_slopes(gate[i], up[i], grad[i], &grad_gate[i], &grad_up[i]);
        }
    );
}
