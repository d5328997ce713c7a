// AdamW: grid [ceil(n / 256), 1, 1], 256 threads, each of which owns one parameter.

// `rate`: lr / (1 - b1^t). `correction`: 1 / (1 - b2^t). `keep`: 1 - lr decay.
KERNEL adamw_step(float* param, const float* gradient, float* m, float* v, u32 n, float grad_scale,
                  float beta1, float beta2, float rate, float correction, float eps, float keep) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float g = gradient[i] * grad_scale;
    float new_m = fmaf(beta1, m[i], (1.0f - beta1) * g);
    float new_v = fmaf(beta2, v[i], (1.0f - beta2) * g * g);
    float move_by = rate * new_m / (sqrtf(new_v * correction) + eps);
    param[i] = param[i] * keep - move_by;
    m[i] = new_m;
    v[i] = new_v;
}
