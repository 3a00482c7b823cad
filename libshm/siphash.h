/* SPDX-License-Identifier: MIT */
/*
 * siphash.h - a hash that who does not know its key cannot steer
 *
 * SipHash-c-d by Jean-Philippe Aumasson and Daniel J. Bernstein, "SipHash: a
 * fast short-input PRF" (2012), after its description there; checked against
 * the test vectors of https://github.com/veorq/SipHash. Maps use SipHash-1-3,
 * which its authors hold to be enough for hash tables. No library of Debian's
 * base offers it.
 */
#ifndef LSHMI_SIPHASH_H
#define LSHMI_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t lshmi_rotate_left(uint64_t x, int bits)
{
	return x << bits | x >> (64 - bits);
}

static inline void lshmi_sip_rounds(uint64_t v[4], int n)
{
	while (n--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = lshmi_rotate_left(v[1], 13) ^ v[0];
		v[3] = lshmi_rotate_left(v[3], 16) ^ v[2];
		v[0] = lshmi_rotate_left(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = lshmi_rotate_left(v[1], 17) ^ v[2];
		v[3] = lshmi_rotate_left(v[3], 21) ^ v[0];
		v[2] = lshmi_rotate_left(v[2], 32);
	}
}

/* Up to 8 bytes as a number, the first the lowest, on every machine. */
static inline uint64_t lshmi_sip_word(const unsigned char *p, size_t n)
{
	uint64_t w = 0;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (n == 8) {
		memcpy(&w, p, 8);
		return w;
	}
#endif
	while (n--)
		w = w << 8 | p[n];
	return w;
}

static inline uint64_t lshmi_siphash(
    int c, int d, const uint64_t key[2], const void *data, size_t size)
{
	uint64_t v[4] = {
	    key[0] ^ UINT64_C(0x736f6d6570736575),
	    key[1] ^ UINT64_C(0x646f72616e646f6d),
	    key[0] ^ UINT64_C(0x6c7967656e657261),
	    key[1] ^ UINT64_C(0x7465646279746573),
	};
	const unsigned char *p = data;
	uint64_t w;

	for (size_t left = size; left >= 8; left -= 8, p += 8) {
		w = lshmi_sip_word(p, 8);
		v[3] ^= w;
		lshmi_sip_rounds(v, c);
		v[0] ^= w;
	}
	w = lshmi_sip_word(p, size % 8) | (uint64_t)size << 56;
	v[3] ^= w;
	lshmi_sip_rounds(v, c);
	v[0] ^= w;
	v[2] ^= 0xff;
	lshmi_sip_rounds(v, d);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#endif
