# SPDX-License-Identifier: Apache-2.0
"""The cycle model's constants. Each comes from the RTL, none from a measurement of a network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Cycles between two events in the RTL, or places in a buffer; the comments say where.

    "Visible" is the cycle in which the next unit sees what has been handed over.
    """

    # unzip_ctrl, unzip_counters; cycle 0 is that of start_o
    counter_lag: int = 2  # an event -> step_q, run_q -> the counter that a mark records
    finish: int = 1  # the last unit is idle -> finished_q, state_q; CYCLES counts one less

    # unzip_fetch
    queue_depth: int = 16  # QUEUE_DEPTH
    header_request: int = 2  # start_i -> want_header_q -> want_q
    header_read: int = 3  # last beat -> done_q -> header_done_q -> run_q
    fetch_again: int = 1  # a request has been handed over -> the next queue is chosen
    fetch_request: int = 1  # a queue is chosen -> want_q
    fetched: int = 2  # last beat -> done_q -> visible at the end of the queue

    # unzip_axi_read
    request_places: int = 2  # requests of fetch, and of load, that are checked or wait
    request_again: int = 1  # the request before goes on -> the next one can come
    request_check: int = 2  # a request comes -> first_q -> second_q: taken
    request_spacing: int = 2  # taken -> ar_valid_q -> the next one is taken
    request_accept: int = 1  # taken -> ar_valid_q, accepted by DRAM

    # unzip_stage
    stage_take: int = 1  # visible, tokens there -> job_q, mark_q or list_q
    stage_next: int = 2  # taken -> taken_q -> the next instruction is visible
    stage_done: int = 1  # unit_done_i -> done_q: tokens are given
    token: int = 1  # given -> available_o
    stage_idle: int = 1  # done_q -> nothing pending

    # unzip_dispatch
    dispatch_depth: int = 2  # DEPTH, twice that for the post stage
    dispatch_decode: int = 1  # visible -> decoded_q: handed out
    dispatch_visible: int = 1  # handed out -> visible to the stage, and the next one to dispatch

    # unzip_load, unzip_bursts
    load_jobs: int = 16  # JOBS: taken and not done
    load_request: int = 5  # job taken -> next_q -> job_q -> planned_q -> burst_valid_o -> fits_q
    load_next: int = 2  # a burst is put out -> planned_q -> the next one is
    load_again: int = 2  # a burst has been taken -> the next one is put out -> fits_q
    load_space: int = 2  # a beat leaves the buffer -> space_q -> fits_q
    load_beat: int = 1  # a beat -> it stands at the buffer's end
    load_word: int = 1  # a beat leaves the buffer -> the gearbox puts its (first) word out
    load_start: int = 2  # job taken -> u_jobs -> wr_run_q
    load_done: int = 1  # a job's last word -> done_o
    load_act: int = 1  # act mem: through u_act_words

    # unzip_wgen
    wgen_read: int = 2  # the last word of the first set is asked for -> fill_q -> set_ready_q
    wgen_least: int = 3  # job taken -> u_emit_job -> em_valid_q -> u_steps
    wgen_jobs: int = 4  # DEPTH of u_emit_job
    wgen_word: int = 4  # a step leaves u_steps -> s0, s1, s2 -> word_valid_q
    wgen_release: int = 1  # a step leaves u_steps -> its row can be read into two cycles later

    # unzip_pe_array
    chunk_there: int = 1  # last word of a chunk -> chunk_valid_q
    half_free: int = 1  # last operand of a chunk -> halves_full_q
    tile_done: int = 7  # last operand of a tile -> tile_done_o, the adder tree's stages left out

    # unzip_window_reader
    reader_start: int = 1  # job taken -> next_valid_q; start -> the first step
    reader_idle: int = 1  # last step -> run_q: the next tile can start
    reader_again: int = 2  # start -> start_q -> the next job can be taken
    operand: int = 6  # a step -> stages 0 to 5
    bank_free: int = 1  # tile_release_i -> banks_used_q

    # unzip_projector; along the kernel a read goes to u_reads, then to the next S pixels
    projector_places: int = 8  # Places: reads that are on their way or in u_reads
    projector_word: int = 7  # a read's step -> stages 0 to 5 -> u_reads -> read_valid
    projector_row: int = 1  # the last read of S pixels is taken -> next_full_q
    projector_before: int = 1  # a line's first S pixels go to the window -> before_full_q
    projector_operand: int = 2  # a code of the window's pixels -> sums_q -> kernel_q
    projector_tile: int = 2  # a tile's last read is taken -> walk_q -> the next tile's first one
    projector_channel: int = 10  # along the channels: a step's last read -> stages -> lane_q

    # unzip_post
    post_start: int = 1  # job taken -> drain_q; tile_done_i -> tiles_q
    post_release: int = 3  # last group of channels -> tile_release_o
    post_done: int = 17  # last group of channels -> stages 1 to 12, done_q
    post_again: int = 1  # done_o -> the next job can be taken

    # unzip_residual
    residual_depth: int = 8  # words of u_words, of each port
    residual_first: int = 7  # job taken -> the first word stands at valid_o

    # unzip_act_mem
    starved: int = 15  # cycles that a reader of idle slots waits at most

    # unzip_store, unzip_axi_write
    store_jobs: int = 8  # JOBS of the stage: taken and not done
    store_depth: int = 8  # words of u_words
    store_read: int = 3  # job taken -> u_walk -> the first word is read
    store_beat: int = 5  # a word is read -> granted_q -> u_words -> gearbox -> beat_valid_o
    write_buffer: int = 2  # bursts that u_buffer holds
    write_ask: int = 4  # a burst's last beat -> u_whole -> first_q -> second_q -> aw_valid_q
    write_first: int = 1  # address accepted -> the first beat is
    write_spacing: int = 2  # aw_valid_q -> the next address
    write_done: int = 1  # the answer to a job's last burst -> done_o
