/* The header needs nothing before it, in C99 and (as header.cpp) in C++17. */
#include <s3vault.h>
