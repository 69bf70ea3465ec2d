// dot_bytes.glsl: the sum of the products of four signed bytes. Debian 12's compiler does not know the extension's GLSL.

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6018, 6019], id = 4450)
int dot_bytes(int a, int b, spirv_literal int packed_4x8);
