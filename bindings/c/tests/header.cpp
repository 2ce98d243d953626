// The header needs nothing before it; a C++ caller gets C linkage without asking for it.
#include <s3vault.h>

int main() { return s3v_abi_version() == S3V_ABI_VERSION ? 0 : 1; }
