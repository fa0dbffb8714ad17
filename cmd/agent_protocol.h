/*
 * Between `mayfly run --agent` and the agent in the guest (tests/guest/agent).
 *
 * The agent connects to this port of the host once for each channel and says, in one byte, for which.
 * The channels of the command's standard streams carry bytes and nothing else; the end of one is the
 * end of the stream. The control channel:
 *
 *   host to agent   u32 how many arguments, then each as u32 length and bytes; all little-endian
 *   agent to host   "status N\n" when the command has ended and all its output is on its way
 *   host to agent   the end of the channel, when all of the output has arrived
 *   agent to host   "off\n" when nothing of the guest is left to be written, just before it powers off
 */
#pragma once

#define AGENT_PORT 28006u

#define AGENT_CONTROL 'c'
#define AGENT_STDIN '0'
#define AGENT_STDOUT '1'
#define AGENT_STDERR '2'

/* Of all arguments, with their lengths. */
#define AGENT_ARGS_MAX (16u << 20)

/* What a shell says of a command that it cannot run. */
#define AGENT_NOT_EXECUTABLE 126
#define AGENT_NOT_FOUND 127
