// SPDX-License-Identifier: Apache-2.0
// The words of mailbox.svh.
static int words[16 + 256];

extern "C" int phasecore_peek(int key) { return words[key]; }

extern "C" void phasecore_post(int key, int value) { words[key] = value; }
