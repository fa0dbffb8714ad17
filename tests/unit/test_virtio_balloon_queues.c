/* Statistics, hinting, and what of it all a snapshot holds. */
#include "tests/unit/balloon_driver.h"

static void init(void)
{
	begin(EVENT_LOOP_URING);
}

TestSuite(virtio_balloon_queues, .init = init, .fini = end);

/* Statistics -----------------------------------------------------------------------------------*/

static void put_stat(unsigned int at, uint16_t tag, uint64_t value)
{
	const struct virtio_balloon_stat stat = { tag, value };

	memcpy(fake_ptr(&fake, LIST + at * sizeof(stat), sizeof(stat)), &stat, sizeof(stat));
}

static uint16_t post_stats(unsigned int count)
{
	const struct fake_buffer buffer = { LIST,
					    count * (uint32_t)sizeof(struct virtio_balloon_stat),
					    false };
	const uint16_t head = fake_chain(&stats, &buffer, 1);

	fake_kick(&stats);
	fake_settle(&fake);
	return head;
}

static struct virtio_balloon_stats get_stats(void)
{
	struct virtio_balloon_stats out;

	cr_assert_eq(virtio_balloon_get_stats(fake.dev, &out, NULL), 0);
	return out;
}

Test(virtio_balloon_queues, statistics_are_kept_and_unknown_tags_are_not)
{
	struct virtio_balloon_stats got;

	put_stat(0, VIRTIO_BALLOON_S_MEMTOT, 512 << 20);
	put_stat(1, 15, 77); /* direct_reclaim: younger than this host's headers may be */
	put_stat(2, 16, 1);
	put_stat(3, 0xffff, 2);
	post_stats(4);
	fake_write(&fake, VIRTIO_MMIO_CONFIG + 4, 123);
	got = get_stats();
	cr_expect_eq(got.present, 1u << 5 | 1u << 15);
	cr_expect_eq(got.values[5], 512 << 20);
	cr_expect_eq(got.values[15], 77);
	cr_expect_eq(got.actual_pages, 123);
	cr_expect_str_eq(virtio_balloon_stat_name(15), "direct_reclaim");
	cr_expect_str_eq(virtio_balloon_stat_name(5), "total_memory");
}

Test(virtio_balloon_queues, buffer_comes_back_at_the_interval)
{
	const uint16_t head = post_stats(1);
	struct vring_used_elem elem = { 0 };

	cr_expect_not(fake_used(&stats, &elem));
	cr_assert(fake_wait_used(&stats, &elem)); /* a second */
	cr_expect_eq(elem.id, head);
	put_stat(0, 3, 5);
	post_stats(1);
	cr_expect_eq(get_stats().values[3], 5);
	cr_expect_eq(counter(BALLOON_STATS_UPDATES_COUNT), 2);
}

Test(virtio_balloon_queues, second_buffer_frees_the_first)
{
	const uint16_t first = post_stats(1);
	struct vring_used_elem elem = { 0 };

	post_stats(1);
	cr_assert(fake_used(&stats, &elem));
	cr_expect_eq(elem.id, first);
	cr_expect_not(fake_used(&stats, &elem));
}

Test(virtio_balloon_queues, interval_changes_live)
{
	struct vring_used_elem elem = { 0 };
	struct error err = { 0 };

	cr_assert_eq(virtio_balloon_set_stats_interval(fake.dev, 3600, &err), 0);
	post_stats(1);
	usleep(1200000);
	fake_settle(&fake);
	cr_expect_not(fake_used(&stats, &elem));
	cr_assert_eq(virtio_balloon_set_stats_interval(fake.dev, 1, &err), 0);
	cr_expect(fake_wait_used(&stats, &elem));
	cr_expect_eq(virtio_balloon_set_stats_interval(fake.dev, 0, &err), -EINVAL);
	cr_expect_str_eq(err.text, "Statistics cannot be enabled/disabled after activation.");
}

Test(virtio_balloon_queues, pause_hands_the_buffer_back)
{
	struct vring_used_elem elem = { 0 };

	post_stats(1);
	virtio_device_pause(fake.dev);
	cr_expect(fake_used(&stats, &elem));
	virtio_device_resume(fake.dev);
	post_stats(1);
	cr_expect(fake_wait_used(&stats, &elem));
}

/* Hinting ----------------------------------------------------------------------------------------*/

static struct virtio_balloon_hinting status(void)
{
	struct virtio_balloon_hinting out;

	cr_assert_eq(virtio_balloon_hinting_status(fake.dev, &out, NULL), 0);
	return out;
}

static void say(uint32_t command)
{
	const struct fake_buffer buffer = { LIST, 4, false };

	memcpy(fake_ptr(&fake, LIST, 4), &command, 4);
	send(&hint, &buffer, 1);
}

static void name_page(unsigned int page)
{
	const struct fake_buffer range = { PAGES + page * PAGE_SIZE, PAGE_SIZE, true };

	send(&hint, &range, 1);
}

Test(virtio_balloon_queues, a_run_of_hints)
{
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	cr_expect_eq(config_read(8), 2);
	cr_expect_not(status().has_guest_cmd);
	name_page(1); /* before it has said which run this is for */
	say(2);
	name_page(2);
	cr_expect_eq(status().guest_cmd, 2);
	say(VIRTIO_BALLOON_CMD_ID_STOP);
	cr_expect_eq(config_read(8), VIRTIO_BALLOON_CMD_ID_DONE);
	name_page(3); /* the guest has these back */
	cr_expect(is_there(1));
	cr_expect_not(is_there(2));
	cr_expect(is_there(3));
	cr_expect_eq(counter(BALLOON_HINT_FREED), PAGE_SIZE);
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	cr_expect_eq(config_read(8), 3);
}

Test(virtio_balloon_queues, without_acknowledgement_the_pages_stay_away)
{
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, false, NULL), 0);
	say(2);
	say(VIRTIO_BALLOON_CMD_ID_STOP);
	cr_expect_eq(config_read(8), 2);
	cr_expect_eq(status().guest_cmd, VIRTIO_BALLOON_CMD_ID_STOP);
	cr_assert_eq(virtio_balloon_hinting_stop(fake.dev, NULL), 0);
	cr_expect_eq(config_read(8), VIRTIO_BALLOON_CMD_ID_DONE);
	cr_expect_eq(status().host_cmd, VIRTIO_BALLOON_CMD_ID_DONE);
}

Test(virtio_balloon_queues, hints_of_an_old_run_do_not_count)
{
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	say(2);
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	name_page(1);
	cr_expect(is_there(1));
}

Test(virtio_balloon_queues, run_numbers_wrap_around_what_is_special)
{
	balloon()->last_run = UINT32_MAX;
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	cr_expect_eq(config_read(8), 2);
}

Test(virtio_balloon_queues, command_that_is_too_short_is_none)
{
	const struct fake_buffer buffer = { LIST, 3, false };

	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	send(&hint, &buffer, 1);
	cr_expect_not(status().has_guest_cmd);
	cr_expect_eq(counter(BALLOON_HINT_FAILS), 1);
}

Test(virtio_balloon_queues, what_was_not_asked_for_is_refused)
{
	struct virtio_balloon_stats out;
	struct virtio_balloon_hinting hinting;
	struct error err = { 0 };

	virtio_device_destroy(fake.dev);
	create_with((struct virtio_balloon_params){ 0 });
	cr_expect_eq(virtio_balloon_get_stats(fake.dev, &out, &err), -ENODATA);
	cr_expect_str_eq(err.text, "Received stats query when stats are disabled.");
	cr_expect_eq(virtio_balloon_hinting_start(fake.dev, true, &err), -ENOTSUP);
	cr_expect_eq(virtio_balloon_hinting_stop(fake.dev, &err), -ENOTSUP);
	cr_expect_eq(virtio_balloon_hinting_status(fake.dev, &hinting, &err), -ENOTSUP);
	cr_expect_eq(virtio_balloon_set_stats_interval(fake.dev, 1, &err), -EINVAL);
}

/* State ------------------------------------------------------------------------------------------*/

Test(virtio_balloon_queues, state_goes_there_and_back)
{
	const struct state_desc *desc = fake.dev->ops->state;
	cleanup_free uint8_t *saved = calloc(1, desc->size), *again = calloc(1, desc->size);

	put_stat(0, 4, 99);
	post_stats(1);
	fake_write(&fake, VIRTIO_MMIO_CONFIG + 4, 55);
	cr_assert_eq(virtio_balloon_set_target(fake.dev, 2, NULL), 0);
	cr_assert_eq(virtio_balloon_hinting_start(fake.dev, true, NULL), 0);
	say(2);
	virtio_device_pause(fake.dev);
	fake.dev->ops->save(fake.dev, saved);
	virtio_device_destroy(fake.dev);
	create_with((struct virtio_balloon_params){
		.stats_interval_s = 9, .reporting = true, .hinting = true });
	cr_assert_eq(fake.dev->ops->load(fake.dev, saved, NULL), 0);
	fake.dev->ops->save(fake.dev, again);
	cr_expect_arr_eq(saved, again, desc->size);
	cr_expect_eq(config_read(0), 512);
	cr_expect_eq(config_read(4), 55);
	cr_expect_eq(config_read(8), 2);
	cr_expect_eq(get_stats().values[4], 99);
	cr_expect_eq(status().guest_cmd, 2);
	cr_expect_eq(balloon()->stats_interval_s, 1);
}

/* Offsets by the table: what a file could say. */
static int load_with(const char *field, uint32_t value)
{
	const struct state_desc *desc = fake.dev->ops->state;
	cleanup_free uint8_t *state = calloc(1, desc->size);
	bool found = false;
	struct error err;

	fake.dev->ops->save(fake.dev, state);
	for (uint32_t i = 0; i < desc->field_count; i++) {
		if (strcmp(desc->fields[i].name, field) != 0)
			continue;
		memcpy(state + desc->fields[i].offset, &value, desc->fields[i].size);
		found = true;
	}
	cr_assert(found, "%s", field);
	return fake.dev->ops->load(fake.dev, state, &err);
}

Test(virtio_balloon_queues, impossible_states_are_refused)
{
	virtio_device_pause(fake.dev);
	cr_expect_eq(load_with("target_pages", 513), -EINVAL);
	cr_expect_eq(load_with("stats_interval_s", 0), -EINVAL);
	cr_expect_eq(load_with("stats_present", 0x10000), -EINVAL);
	cr_expect_eq(load_with("last_run", 0), -EINVAL);
	cr_expect_eq(load_with("host_cmd", 5), -EINVAL);
	cr_expect_eq(load_with("target_pages", 512), 0);
}
