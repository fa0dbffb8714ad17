/* A vCPU's state by names: the registers as linux/kvm.h calls them. */
#include "vmm/vcpu_state.h"

#define REG(member) STATE_FIELD(struct kvm_regs, member, STATE_U64, 1)

/* clang-format off */
static const struct state_field regs_fields[] = {
	REG(rax), REG(rbx), REG(rcx), REG(rdx), REG(rsi), REG(rdi),
	REG(rsp), REG(rbp), REG(r8), REG(r9), REG(r10), REG(r11),
	REG(r12), REG(r13), REG(r14), REG(r15), REG(rip), REG(rflags),
};
/* clang-format on */

static const struct state_desc regs_desc = STATE_DESC("regs", struct kvm_regs, 1, regs_fields);

#define SEGMENT(member, kind) STATE_FIELD(struct kvm_segment, member, kind, 1)

static const struct state_field segment_fields[] = {
	SEGMENT(base, STATE_U64), SEGMENT(limit, STATE_U32),  SEGMENT(selector, STATE_U16),
	SEGMENT(type, STATE_U8),  SEGMENT(present, STATE_U8), SEGMENT(dpl, STATE_U8),
	SEGMENT(db, STATE_U8),	  SEGMENT(s, STATE_U8),	      SEGMENT(l, STATE_U8),
	SEGMENT(g, STATE_U8),	  SEGMENT(avl, STATE_U8),     SEGMENT(unusable, STATE_U8),
};

static const struct state_desc segment_desc = STATE_DESC("segment", struct kvm_segment, 1,
							 segment_fields);

static const struct state_field dtable_fields[] = {
	STATE_FIELD(struct kvm_dtable, base, STATE_U64, 1),
	STATE_FIELD(struct kvm_dtable, limit, STATE_U16, 1),
};

static const struct state_desc dtable_desc = STATE_DESC("dtable", struct kvm_dtable, 1,
							dtable_fields);

#define SREG(member) STATE_FIELD(struct kvm_sregs2, member, STATE_U64, 1)
#define SREG_SEGMENT(member) STATE_NESTED(struct kvm_sregs2, member, &segment_desc, 1)
#define SREG_TABLE(member) STATE_NESTED(struct kvm_sregs2, member, &dtable_desc, 1)

static const struct state_field sregs_fields[] = {
	SREG_SEGMENT(cs),
	SREG_SEGMENT(ds),
	SREG_SEGMENT(es),
	SREG_SEGMENT(fs),
	SREG_SEGMENT(gs),
	SREG_SEGMENT(ss),
	SREG_SEGMENT(tr),
	SREG_SEGMENT(ldt),
	SREG_TABLE(gdt),
	SREG_TABLE(idt),
	SREG(cr0),
	SREG(cr2),
	SREG(cr3),
	SREG(cr4),
	SREG(cr8),
	SREG(efer),
	SREG(apic_base),
	SREG(flags),
	STATE_ARRAY(struct kvm_sregs2, pdptrs, STATE_U64, 1),
};

static const struct state_desc sregs_desc = STATE_DESC("sregs", struct kvm_sregs2, 1, sregs_fields);

static const struct state_field debugregs_fields[] = {
	STATE_ARRAY(struct kvm_debugregs, db, STATE_U64, 1),
	STATE_FIELD(struct kvm_debugregs, dr6, STATE_U64, 1),
	STATE_FIELD(struct kvm_debugregs, dr7, STATE_U64, 1),
	STATE_FIELD(struct kvm_debugregs, flags, STATE_U64, 1),
};

static const struct state_desc debugregs_desc = STATE_DESC("debugregs", struct kvm_debugregs, 1,
							   debugregs_fields);

static const struct state_field xcr_fields[] = {
	STATE_FIELD(struct kvm_xcr, xcr, STATE_U32, 1),
	STATE_FIELD(struct kvm_xcr, value, STATE_U64, 1),
};

static const struct state_desc xcr_desc = STATE_DESC("xcr", struct kvm_xcr, 1, xcr_fields);

static const struct state_field msr_fields[] = {
	STATE_FIELD(struct vcpu_msr, index, STATE_U32, 1),
	STATE_FIELD(struct vcpu_msr, value, STATE_U64, 1),
};

static const struct state_desc msr_desc = STATE_DESC("msr", struct vcpu_msr, 1, msr_fields);

/* `lapic`, `xsave` and `events` are KVM's own layouts of struct kvm_lapic_state, kvm_xsave and
 * kvm_vcpu_events, which its interface fixes. */
static const struct state_field vcpu_fields[] = {
	STATE_FIELD(struct vcpu_state, mp_state, STATE_U32, 1),
	STATE_FIELD(struct vcpu_state, tsc_khz, STATE_U32, 1),
	STATE_FIELD(struct vcpu_state, tsc, STATE_U64, 1),
	STATE_FIELD(struct vcpu_state, has_tsc_offset, STATE_BOOL, 1),
	STATE_FIELD(struct vcpu_state, tsc_offset, STATE_U64, 1),
	STATE_FIELD(struct vcpu_state, tsc_deadline, STATE_U64, 1),
	STATE_NESTED(struct vcpu_state, regs, &regs_desc, 1),
	STATE_NESTED(struct vcpu_state, sregs, &sregs_desc, 1),
	STATE_NESTED(struct vcpu_state, debugregs, &debugregs_desc, 1),
	STATE_TABLE(struct vcpu_state, xcrs, xcr_count, &xcr_desc, 1),
	STATE_BLOB(struct vcpu_state, xsave, xsave_size, 1),
	STATE_FIELD(struct vcpu_state, lapic, STATE_BYTES, 1),
	STATE_TABLE(struct vcpu_state, msrs, msr_count, &msr_desc, 1),
	STATE_FIELD(struct vcpu_state, events, STATE_BYTES, 1),
};

const struct state_desc vcpu_state_desc = STATE_DESC("vcpu", struct vcpu_state, 1, vcpu_fields);
