// SPDX-License-Identifier: Apache-2.0
// Cuts the DRAM side of a LOAD or STORE into bursts.
//
// Order: a job is words/run runs, each of job_bytes_i bytes from a multiple of 64 on, pitch bytes apart. Bursts
// are aligned to their own length, so that none crosses a 4 KB border, and end with their run.
// Interface: a job stream and a burst stream. burst_last_o stands with the last burst of a job.
// Throughput: one burst in two cycles, across runs and jobs; a job in two cycles.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip_bursts #(
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,  // beats, a power of two; a burst is at most 4 KB
    localparam int BEATS_W = 9
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                job_valid_i,
    output logic                job_ready_o,
    input  logic [AXI_ADDR_W:0] job_addr_i,    // first byte, a multiple of 64
    input  logic [        31:0] job_bytes_i,   // of a run, at least 1
    input  logic [        23:0] job_words_i,   // a multiple of job_run_i
    input  logic [        23:0] job_run_i,     // words of a run, at least 1
    input  logic [        39:0] job_pitch_i,   // bytes from run to run, a multiple of 64
    input  logic [        31:0] job_offset_i,  // of the instruction
    output logic                busy_o,        // a job is taken, its last burst is not

    output logic                burst_valid_o,
    input  logic                burst_ready_i,
    output logic [AXI_ADDR_W:0] burst_addr_o,
    output logic [ BEATS_W-1:0] burst_beats_o,
    output logic                burst_last_o,
    output logic [        31:0] burst_offset_o  // of the instruction
);

  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_BURST_LEN

  localparam int ByteW = $clog2(AXI_DATA_W / 8);
  localparam int AddrW = AXI_ADDR_W + 1;

  // ---- The next job waits here, so that its first burst follows at once -------------------------------
  logic next_q, job_take, start;
  logic [AddrW-1:0] next_addr_q;
  logic [31:0] next_bytes_q, next_offset_q, next_beats;
  logic [23:0] next_words_q, next_run_q;
  logic [39:0] next_pitch_q;

  assign job_ready_o = !next_q;
  assign job_take = job_valid_i && job_ready_o;
  assign next_beats = (next_bytes_q + 32'(AXI_DATA_W / 8 - 1)) >> ByteW;

  always_ff @(posedge clk_i) begin
    next_q <= rst_ni && (next_q ? !start : job_take);
    if (job_take) begin
      next_addr_q <= job_addr_i;
      next_bytes_q <= job_bytes_i;
      next_words_q <= job_words_i;
      next_run_q <= job_run_i;
      next_pitch_q <= job_pitch_i;
      next_offset_q <= job_offset_i;
    end
  end

  // ---- Bursts: planned in one cycle, put out in the next one ------------------------------------------
  logic job_q, space, put_q, ends;  // ends: the job, with this burst
  logic [AddrW-1:0] addr_q, run_addr_q;  // of the burst; of the next run
  logic [31:0] beats_left_q, run_beats_q, offset_q;
  logic [23:0] words_left_q, run_q;
  logic [39:0] pitch_q;
  logic [BEATS_W-1:0] to_border, burst_q;
  logic run_ends_q, last_run, ends_q;

  assign to_border = BEATS_W'(BURST_LEN) - (BEATS_W'(addr_q >> ByteW) & BEATS_W'(BURST_LEN - 1));
  assign last_run = words_left_q == run_q;
  assign ends = put_q && ends_q;
  assign start = next_q && (!job_q || ends);
  assign busy_o = next_q || job_q || burst_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      job_q <= 1'b0;
      put_q <= 1'b0;
    end else begin
      job_q <= start || (job_q && !ends);
      put_q <= job_q && !put_q && space;  // space stays until something is put out
    end
    burst_q <= beats_left_q < 32'(to_border) ? beats_left_q[BEATS_W-1:0] : to_border;
    run_ends_q <= beats_left_q <= 32'(to_border);
    ends_q <= beats_left_q <= 32'(to_border) && last_run;
    if (start) begin
      addr_q <= next_addr_q;
      run_addr_q <= next_addr_q + AddrW'(next_pitch_q);
      beats_left_q <= next_beats;
      run_beats_q <= next_beats;
      words_left_q <= next_words_q;
      run_q <= next_run_q;
      pitch_q <= next_pitch_q;
      offset_q <= next_offset_q;
    end else if (put_q && run_ends_q) begin
      addr_q <= run_addr_q;
      run_addr_q <= run_addr_q + AddrW'(pitch_q);
      beats_left_q <= run_beats_q;
      words_left_q <= words_left_q - run_q;
    end else if (put_q) begin
      addr_q <= addr_q + (AddrW'(burst_q) << ByteW);
      beats_left_q <= beats_left_q - 32'(burst_q);
    end
  end

  // Between the consumer's ready and the plan.
  unzip_fifo #(
      .WIDTH(AddrW + BEATS_W + 1 + 32),
      .DEPTH(2)
  ) u_out (
      .clk_i,
      .rst_ni,
      .in_valid_i(put_q),
      .in_ready_o(space),
      .in_data_i({addr_q, burst_q, ends_q, offset_q}),
      .out_valid_o(burst_valid_o),
      .out_ready_i(burst_ready_i),
      .out_data_o({burst_addr_o, burst_beats_o, burst_last_o, burst_offset_o}),
      .count_o()
  );

  `UNZIP_ASSERT_STREAM(BurstStable, burst_valid_o, burst_ready_i, ({burst_addr_o, burst_beats_o}),
                       AXI_ADDR_W + 1 + BEATS_W, clk_i, rst_ni)

endmodule
