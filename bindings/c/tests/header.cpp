// The header compiles on its own, and its functions have C linkage in C++.
#include <s3vault.h>

int main() { return s3v_abi_version() == S3V_ABI_VERSION ? 0 : 1; }
