/* The header compiles on its own, in C99 and (see header.cpp) in C++17. */
#include <s3vault.h>
