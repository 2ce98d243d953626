package io.s3vault;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;

/** Test data from the generator that all bindings share: xorshift64*, words in little-endian order. */
record Data(long size, long seed) {
    InputStream stream() {
        return new Generator(size, seed);
    }

    byte[] bytes() {
        try {
            return stream().readAllBytes();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static final class Generator extends InputStream {
        private long left;
        private long state;
        private long word;
        private int inWord;

        Generator(long size, long seed) {
            left = size;
            state = seed * 0x9E3779B97F4A7C15L + 1;
            if (state == 0) {
                state = 1;
            }
        }

        @Override
        public int read() {
            if (left == 0) {
                return -1;
            }
            if (inWord == 0) {
                state ^= state >>> 12;
                state ^= state << 25;
                state ^= state >>> 27;
                word = state * 0x2545F4914F6CDD1DL;
                inWord = 8;
            }
            int value = (int) word & 0xff;
            word >>>= 8;
            inWord--;
            left--;
            return value;
        }

        @Override
        public int read(byte[] bytes, int offset, int length) {
            if (left == 0 && length > 0) {
                return -1;
            }
            int count = (int) Math.min(left, length);
            for (int i = 0; i < count; i++) {
                bytes[offset + i] = (byte) read();
            }
            return count;
        }
    }
}
