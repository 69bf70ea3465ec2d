// retention_units.glsl: units of eight in the scratch memory of the direct kernels (retention_scratch.glsl), by their binding,
// `scratch`, or with ADDRESSES by its address. A place is a number of units from where the scratch begins, less than 2 GiB; why it
// is masked, and what is won, says matmul_operands.glsl. The number behind a place is a constant.

#ifdef ADDRESSES
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Units { uvec4 at[]; };
uvec4 unit_of(uint place, uint i) { return Units(push.scratch).at[(place & 0x7ffffffu) + i]; }
#else
uvec4 unit_of(uint place, uint i) { return scratch[place + i]; }
#endif
