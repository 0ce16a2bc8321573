// SPDX-License-Identifier: Apache-2.0
// unzipFPGA: a CNN inference engine that regenerates OVSF-coded weights on chip.
//
// One program runs a whole network: software sets the base and window registers, writes CTRL.START, and
// waits for the interrupt. Three instruction streams (load, compute, store) run side by side, ordered by
// tokens; regs/isa.yaml is the instruction set, regs/unzip.rdl the register map.
//
// Interface: AXI4-Lite for the registers, AXI4 for programs, weights and activations (read IDs 0 and 1,
// incrementing bursts that do not cross 4 KB), a level interrupt. One clock; one synchronous reset.
// Throughput: T_P*T_C multiply-accumulates a cycle.
`include "unzip_assert.svh"
`include "unzip_limits.svh"

module unzip #(
    parameter int T_P = 8,  // MACs per PE
    parameter int T_C = 8,  // PEs
    parameter int T_R = 16,  // accumulator rows per tile
    parameter int S = 1,  // row buses
    parameter int J = 2,  // alphas summed per cycle and lane
    parameter int G = 1,  // weight words generated per cycle
    parameter int D = 9,  // weight words in each half of a PE's register file
    parameter int Q = 4,  // post-processing lanes
    parameter int DW = 8,  // bits of an activation, an alpha and a weight
    parameter int PAIR = 1,  // 1, 2: two filters share a multiplier; 2: one of 25 bits
    parameter int OPERAND_W = DW + 4,  // bits of a multiplier's operand: DW, or DW + 4
    parameter int N_MAX = 16,  // longest code list
    parameter int CHANNEL_AXIS = 1,  // 1: channel-axis codes, too; J is then 1, 2, 4 or 8
    parameter int PROJECTOR = 0,  // 1: layers can run in the code domain
    parameter int ACT_DEPTH = 512,  // words per bank of the activation memory
    parameter int ACT_BANKS = 2,  // banks of the activation memory
    parameter int ALPHA_DEPTH = 256,  // words of the alpha memory
    parameter int PARAM_DEPTH = 64,  // words of the parameter memory
    parameter int POOL_W = 16,  // widest row that can be pooled with all T_C channels
    parameter int AXI_DATA_W = 64,
    parameter int AXI_ADDR_W = 40,
    parameter int BURST_LEN = 16,  // beats of a burst
    parameter int OUTSTANDING = 4,  // read bursts that the load buffer has space for
    parameter int TRACE_DEPTH = 64  // marks that are kept
) (
    input logic clk_i,
    input logic rst_ni,

    output logic irq_o,

    input  logic        s_axil_awvalid,
    output logic        s_axil_awready,
    input  logic [11:0] s_axil_awaddr,
    input  logic        s_axil_wvalid,
    output logic        s_axil_wready,
    input  logic [31:0] s_axil_wdata,
    input  logic [ 3:0] s_axil_wstrb,
    output logic        s_axil_bvalid,
    input  logic        s_axil_bready,
    output logic [ 1:0] s_axil_bresp,
    input  logic        s_axil_arvalid,
    output logic        s_axil_arready,
    input  logic [11:0] s_axil_araddr,
    output logic        s_axil_rvalid,
    input  logic        s_axil_rready,
    output logic [31:0] s_axil_rdata,
    output logic [ 1:0] s_axil_rresp,

    output logic                    m_axi_arvalid,
    input  logic                    m_axi_arready,
    output logic                    m_axi_arid,
    output logic [  AXI_ADDR_W-1:0] m_axi_araddr,
    output logic [             7:0] m_axi_arlen,
    output logic [             2:0] m_axi_arsize,
    output logic [             1:0] m_axi_arburst,
    input  logic                    m_axi_rvalid,
    output logic                    m_axi_rready,
    input  logic                    m_axi_rid,
    input  logic [  AXI_DATA_W-1:0] m_axi_rdata,
    input  logic [             1:0] m_axi_rresp,
    input  logic                    m_axi_rlast,
    output logic                    m_axi_awvalid,
    input  logic                    m_axi_awready,
    output logic                    m_axi_awid,
    output logic [  AXI_ADDR_W-1:0] m_axi_awaddr,
    output logic [             7:0] m_axi_awlen,
    output logic [             2:0] m_axi_awsize,
    output logic [             1:0] m_axi_awburst,
    output logic                    m_axi_wvalid,
    input  logic                    m_axi_wready,
    output logic [  AXI_DATA_W-1:0] m_axi_wdata,
    output logic [AXI_DATA_W/8-1:0] m_axi_wstrb,
    output logic                    m_axi_wlast,
    input  logic                    m_axi_bvalid,
    output logic                    m_axi_bready,
    input  logic                    m_axi_bid,
    input  logic [             1:0] m_axi_bresp
);

  `UNZIP_LIMIT_T_P
  `UNZIP_LIMIT_T_C
  `UNZIP_LIMIT_T_R
  `UNZIP_LIMIT_S
  `UNZIP_LIMIT_J
  `UNZIP_LIMIT_G
  `UNZIP_LIMIT_G_T_C
  `UNZIP_LIMIT_S_T_C
  `UNZIP_LIMIT_D
  `UNZIP_LIMIT_Q_T_P
  `UNZIP_LIMIT_Q_T_C
  `UNZIP_LIMIT_DW
  `UNZIP_LIMIT_PAIR
  `UNZIP_LIMIT_OPERAND_W
  `UNZIP_LIMIT_N_MAX
  `UNZIP_LIMIT_CHANNEL_AXIS
  `UNZIP_LIMIT_PROJECTOR
  `UNZIP_LIMIT_PROJECTOR_OPERAND_W
  `UNZIP_LIMIT_ACT_DEPTH
  `UNZIP_LIMIT_ACT_BANKS
  `UNZIP_LIMIT_ACT_BANKS_S
  `UNZIP_LIMIT_Q_ACT_BANKS
  `UNZIP_LIMIT_ALPHA_DEPTH
  `UNZIP_LIMIT_PARAM_DEPTH
  `UNZIP_LIMIT_POOL_W
  `UNZIP_LIMIT_AXI_DATA_W
  `UNZIP_LIMIT_AXI_ADDR_W
  `UNZIP_LIMIT_BURST_LEN
  `UNZIP_LIMIT_OUTSTANDING
  `UNZIP_LIMIT_TRACE_DEPTH
  `UNZIP_REQUIRE(INSTRUCTION_BYTES, unzip_isa_pkg::INSTRUCTION_BYTES == 64,
                 ("INSTRUCTION_BYTES (%0d) is not 64.", unzip_isa_pkg::INSTRUCTION_BYTES))

  localparam int AccW = DW == 8 ? 32 : 48;
  localparam int ParamW = AccW + 16;
  localparam int BankW = $clog2(ACT_BANKS);
  localparam int ActAw = $clog2(ACT_DEPTH);
  localparam int AlphaAw = $clog2(ALPHA_DEPTH);
  localparam int ParamAw = $clog2(PARAM_DEPTH);
  localparam int IndexW = $clog2(TRACE_DEPTH);
  localparam int Tokens = unzip_isa_pkg::TOKENS;
  localparam int BeatsW = 9;

  // A program runs only on the build it was compiled for: everything that it depends on is hashed.
  localparam logic [31:0] Hash0 = unzip_pkg::fnv1a(
      unzip_pkg::FNV1A_START, unzip_isa_pkg::ISA_VERSION
  );
  localparam logic [31:0] Hash1 = unzip_pkg::fnv1a(Hash0, T_P);
  localparam logic [31:0] Hash2 = unzip_pkg::fnv1a(Hash1, T_C);
  localparam logic [31:0] Hash3 = unzip_pkg::fnv1a(Hash2, T_R);
  localparam logic [31:0] Hash4 = unzip_pkg::fnv1a(Hash3, S);
  localparam logic [31:0] Hash5 = unzip_pkg::fnv1a(Hash4, J);
  localparam logic [31:0] Hash6 = unzip_pkg::fnv1a(Hash5, G);
  localparam logic [31:0] Hash7 = unzip_pkg::fnv1a(Hash6, D);
  localparam logic [31:0] Hash8 = unzip_pkg::fnv1a(Hash7, Q);
  localparam logic [31:0] Hash9 = unzip_pkg::fnv1a(Hash8, DW);
  localparam logic [31:0] Hash10 = unzip_pkg::fnv1a(Hash9, ACT_DEPTH);
  localparam logic [31:0] Hash11 = unzip_pkg::fnv1a(Hash10, ACT_BANKS);
  localparam logic [31:0] Hash12 = unzip_pkg::fnv1a(Hash11, ALPHA_DEPTH);
  localparam logic [31:0] Hash13 = unzip_pkg::fnv1a(Hash12, PARAM_DEPTH);
  localparam logic [31:0] Hash14 = unzip_pkg::fnv1a(Hash13, POOL_W);
  localparam logic [31:0] Hash15 = unzip_pkg::fnv1a(Hash14, N_MAX);
  localparam logic [31:0] Hash16 = unzip_pkg::fnv1a(Hash15, CHANNEL_AXIS);
  localparam logic [31:0] BuildId = unzip_pkg::fnv1a(Hash16, PROJECTOR);

  // ---- Registers and run control -------------------------------------------------------------------
  logic start, soft_reset, busy, error, resetting, done, failed, fetch_start, halt, engine_rst_n;
  logic [7:0] error_code;
  logic [2:0] error_stage;
  logic [AXI_ADDR_W-1:0] error_addr, read_first, read_last, write_first, write_last;
  logic [31:0] watchdog_limit;
  logic [5*AXI_ADDR_W-1:0] bases;
  logic [8*AXI_ADDR_W-1:0] base_of;  // by the number in an instruction
  assign base_of = (8 * AXI_ADDR_W)'(bases);
  logic [9*64-1:0] counters;
  logic [31:0] trace_count;
  logic [IndexW-1:0] trace_index;
  logic [8*32-1:0] trace_data;
  logic finished, read_idle, write_idle;

  unzip_csr #(
      .AXI_ADDR_W(AXI_ADDR_W),
      .T_P(T_P),
      .T_C(T_C),
      .T_R(T_R),
      .S(S),
      .J(J),
      .G(G),
      .D(D),
      .Q(Q),
      .DW(DW),
      .ACT_DEPTH(ACT_DEPTH),
      .ACT_BANKS(ACT_BANKS),
      .ALPHA_DEPTH(ALPHA_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .TRACE_DEPTH(TRACE_DEPTH)
  ) u_csr (
      .clk_i,
      .rst_ni,
      .s_axil_awvalid,
      .s_axil_awready,
      .s_axil_awaddr,
      .s_axil_wvalid,
      .s_axil_wready,
      .s_axil_wdata,
      .s_axil_wstrb,
      .s_axil_bvalid,
      .s_axil_bready,
      .s_axil_bresp,
      .s_axil_arvalid,
      .s_axil_arready,
      .s_axil_araddr,
      .s_axil_rvalid,
      .s_axil_rready,
      .s_axil_rdata,
      .s_axil_rresp,
      .irq_o,
      .start_o(start),
      .soft_reset_o(soft_reset),
      .busy_i(busy),
      .error_i(error),
      .resetting_i(resetting),
      .done_i(done),
      .failed_i(failed),
      .error_code_i(error_code),
      .error_stage_i(error_stage),
      .error_addr_i(error_addr),
      .bases_o(bases),
      .read_first_o(read_first),
      .read_last_o(read_last),
      .write_first_o(write_first),
      .write_last_o(write_last),
      .watchdog_o(watchdog_limit),
      .build_id_i(BuildId),
      .counters_i(counters),
      .trace_count_i(trace_count),
      .trace_index_o(trace_index),
      .trace_data_i(trace_data)
  );

  logic [AXI_ADDR_W-1:0] program_base;
  assign program_base = bases[unzip_isa_pkg::BASE_PROGRAM*AXI_ADDR_W+:AXI_ADDR_W];

  localparam int Errors = 22;
  logic [Errors-1:0] error_events;
  logic [Errors*8-1:0] error_codes;
  logic [Errors*3-1:0] error_stages;
  logic [Errors*32-1:0] error_offsets;

  unzip_ctrl #(
      .AXI_ADDR_W(AXI_ADDR_W),
      .SOURCES(Errors)
  ) u_ctrl (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .soft_reset_i(soft_reset),
      .busy_o(busy),
      .error_o(error),
      .resetting_o(resetting),
      .done_o(done),
      .failed_o(failed),
      .error_i(error_events),
      .error_code_i(error_codes),
      .error_stage_i(error_stages),
      .error_offset_i(error_offsets),
      .base_i(program_base),
      .code_o(error_code),
      .stage_o(error_stage),
      .addr_o(error_addr),
      .start_o(fetch_start),
      .halt_o(halt),
      .engine_rst_no(engine_rst_n),
      .finished_i(finished),
      .bus_idle_i(read_idle && write_idle)
  );

  // Everything but the registers and the bus restarts on a soft reset, once nothing is owed on the bus.
  logic rst_n;
  assign rst_n = rst_ni && engine_rst_n;

  // ---- Read channel and instruction fetch ------------------------------------------------------------
  logic [1:0] request_valid, request_ready, request_error, beat_valid, beat_error;
  logic [AXI_ADDR_W:0] fetch_addr, load_addr;
  logic [BeatsW-1:0] fetch_beats, load_beats;
  logic [AXI_DATA_W-1:0] beat_data;
  logic fetch_error, header_error, build_error, fetch_finished;
  logic [31:0] fetch_offset, fetch_error_offset, load_request_offset;
  logic [2*32-1:0] read_window_offset;
  logic beat_last;
  logic [2:0] queue_valid, queue_ready;
  logic [3*512-1:0] queue_instruction;
  logic [ 3*32-1:0] queue_offset;

  unzip_axi_read #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W)
  ) u_axi_read (
      .clk_i,
      .rst_ni,
      .halt_i(halt),
      .idle_o(read_idle),
      .window_first_i(read_first),
      .window_last_i(read_last),
      .request_valid_i(request_valid),
      .request_ready_o(request_ready),
      .request_addr_i({load_addr, fetch_addr}),
      .request_beats_i({load_beats, fetch_beats}),
      .request_offset_i({load_request_offset, fetch_offset}),
      .window_error_o(request_error),
      .window_offset_o(read_window_offset),
      .beat_valid_o(beat_valid),
      .beat_data_o(beat_data),
      .beat_last_o(beat_last),
      .beat_error_o(beat_error),
      .m_axi_arvalid,
      .m_axi_arready,
      .m_axi_arid,
      .m_axi_araddr,
      .m_axi_arlen,
      .m_axi_arsize,
      .m_axi_arburst,
      .m_axi_rvalid,
      .m_axi_rready,
      .m_axi_rid,
      .m_axi_rdata,
      .m_axi_rresp,
      .m_axi_rlast
  );

  // Short loads hide the memory's latency, too: so many are under way, so many instructions fetched.
  localparam int LoadJobs = AXI_DATA_W > 256 ? 32 : 16;

  unzip_fetch #(
      .AXI_DATA_W (AXI_DATA_W),
      .AXI_ADDR_W (AXI_ADDR_W),
      .QUEUE_DEPTH(LoadJobs)
  ) u_fetch (
      .clk_i,
      .rst_ni(rst_n),
      .start_i(fetch_start),
      .program_base_i(program_base),
      .build_id_i(BuildId),
      .header_error_o(header_error),
      .build_error_o(build_error),
      .read_error_o(fetch_error),
      .read_error_offset_o(fetch_error_offset),
      .finished_o(fetch_finished),
      .request_valid_o(request_valid[0]),
      .request_ready_i(request_ready[0]),
      .request_addr_o(fetch_addr),
      .request_beats_o(fetch_beats),
      .request_offset_o(fetch_offset),
      .beat_valid_i(beat_valid[0]),
      .beat_data_i(beat_data),
      .beat_error_i(beat_error[0]),
      .queue_valid_o(queue_valid),
      .queue_ready_i(queue_ready),
      .queue_data_o(queue_instruction),
      .queue_offset_o(queue_offset)
  );

  // ---- Tokens, marks, counters -----------------------------------------------------------------------
  localparam int Stages = 5;  // in the order of unzip_isa_pkg::STAGE_*
  logic [Stages*Tokens-1:0] take, give;
  logic [Tokens-1:0] tokens;
  logic [Stages-1:0] token_overflow;
  logic [Stages*32-1:0] head_offset, done_offset;
  logic [Stages-1:0] mark_valid, mark_ready, stage_idle, stage_waits, stage_pending;
  logic [Stages*16-1:0] mark_id;

  unzip_tokens #(
      .TOKENS(Tokens),
      .STAGES(Stages)
  ) u_tokens (
      .clk_i,
      .rst_ni(rst_n),
      .take_i(take),
      .give_i(give),
      .available_o(tokens),
      .overflow_o(token_overflow)
  );

  logic engine_moved, mac_active, waits_weights, waits_post, conflict, mac_busy;
  logic [7:0] bytes_written;

  unzip_counters #(
      .EVENTS(7)
  ) u_counters (
      .clk_i,
      .rst_ni,
      .clear_i(fetch_start),
      .run_i(busy),
      .event_i({
        conflict,
        stage_waits[unzip_isa_pkg::STAGE_POST],
        waits_post,
        stage_waits[unzip_isa_pkg::STAGE_MAC] && !mac_busy,
        waits_weights,
        mac_active,
        1'b1
      }),
      .bytes_read_i(beat_valid != 2'b00 ? 8'(AXI_DATA_W / 8) : 8'd0),
      .bytes_written_i(bytes_written),
      .counters_o(counters)
  );

  logic [7*32-1:0] trace_counters;
  assign trace_counters = {
    counters[8*64+:32],
    counters[7*64+:32],
    counters[4*64+:32],
    counters[3*64+:32],
    counters[2*64+:32],
    counters[1*64+:32],
    counters[0+:32]
  };

  unzip_trace #(
      .TRACE_DEPTH(TRACE_DEPTH),
      .STAGES(Stages)
  ) u_trace (
      .clk_i,
      .rst_ni,
      .clear_i(fetch_start),
      .mark_valid_i(mark_valid),
      .mark_ready_o(mark_ready),
      .mark_id_i(mark_id),
      .counters_i(trace_counters),
      .count_o(trace_count),
      .index_i(trace_index),
      .data_o(trace_data)
  );

  assign head_offset[unzip_isa_pkg::STAGE_LOAD*32+:32] =
      queue_offset[unzip_isa_pkg::QUEUE_LOAD*32+:32];
  assign head_offset[unzip_isa_pkg::STAGE_STORE*32+:32] =
      queue_offset[unzip_isa_pkg::QUEUE_STORE*32+:32];

  // ---- Load queue ------------------------------------------------------------------------------------
  logic [511:0] load_instruction;
  logic [  7:0] load_opcode;
  logic load_known, load_job_valid, load_job_ready, load_done, load_busy;
  logic [31:0] load_beat_offset;
  logic [AXI_ADDR_W:0] load_job_addr;

  assign load_instruction = queue_instruction[unzip_isa_pkg::QUEUE_LOAD*512+:512];
  assign load_opcode = load_instruction[unzip_isa_pkg::LOAD_OPCODE_LSB+:8];
  assign load_known = load_opcode == 8'(unzip_isa_pkg::OPCODE_LOAD) ||
      load_opcode == 8'(unzip_isa_pkg::OPCODE_MARK);
  assign mark_id[unzip_isa_pkg::STAGE_LOAD*16+:16] =
      load_instruction[unzip_isa_pkg::MARK_ID_LSB+:16];

  unzip_stage #(
      .TOKENS(Tokens),
      .JOBS  (LoadJobs)
  ) u_load_stage (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .valid_i(queue_valid[unzip_isa_pkg::QUEUE_LOAD] && load_known),
      .ready_o(queue_ready[unzip_isa_pkg::QUEUE_LOAD]),
      .is_job_i(load_opcode == 8'(unzip_isa_pkg::OPCODE_LOAD)),
      .is_mark_i(load_opcode == 8'(unzip_isa_pkg::OPCODE_MARK)),
      .is_list_i(1'b0),
      .wait_i(load_instruction[unzip_isa_pkg::LOAD_WAIT_LSB+:Tokens]),
      .signal_i(load_instruction[unzip_isa_pkg::LOAD_SIGNAL_LSB+:Tokens]),
      .offset_i(head_offset[unzip_isa_pkg::STAGE_LOAD*32+:32]),
      .tokens_i(tokens),
      .take_o(take[unzip_isa_pkg::STAGE_LOAD*Tokens+:Tokens]),
      .give_o(give[unzip_isa_pkg::STAGE_LOAD*Tokens+:Tokens]),
      .done_offset_o(done_offset[unzip_isa_pkg::STAGE_LOAD*32+:32]),
      .job_valid_o(load_job_valid),
      .job_ready_i(load_job_ready),
      .unit_done_i(load_done),
      .unit_busy_i(load_busy),
      .mark_valid_o(mark_valid[unzip_isa_pkg::STAGE_LOAD]),
      .mark_ready_i(mark_ready[unzip_isa_pkg::STAGE_LOAD]),
      .list_valid_o(),
      .waits_o(stage_waits[unzip_isa_pkg::STAGE_LOAD]),
      .pending_o(stage_pending[unzip_isa_pkg::STAGE_LOAD]),
      .idle_o(stage_idle[unzip_isa_pkg::STAGE_LOAD])
  );

  logic [2:0] load_base;
  assign load_base = load_instruction[unzip_isa_pkg::LOAD_BASE_LSB+:3];
  // Addresses count in units of 64 bytes, so that no burst can cross a 4 KB border.
  assign load_job_addr = ({1'b0, base_of[load_base*AXI_ADDR_W+:AXI_ADDR_W]} +
      (AXI_ADDR_W + 1)'(load_instruction[unzip_isa_pkg::LOAD_OFFSET_LSB+:40])) &
      ~(AXI_ADDR_W + 1)'(63);

  logic act_valid, act_ready, alpha_we, param_we;
  logic [BankW-1:0] act_bank;
  logic [ActAw-1:0] act_addr;
  logic [T_P*DW-1:0] act_data;
  logic [AlphaAw-1:0] alpha_addr;
  logic [G*T_P*DW-1:0] alpha_data;
  logic [ParamAw-1:0] param_addr;
  logic [Q*ParamW-1:0] param_data;

  unzip_load #(
      .T_P(T_P),
      .G(G),
      .Q(Q),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH),
      .ALPHA_DEPTH(ALPHA_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN(BURST_LEN),
      .OUTSTANDING(OUTSTANDING),
      .JOBS(LoadJobs)
  ) u_load (
      .clk_i,
      .rst_ni(rst_n),
      .job_valid_i(load_job_valid),
      .job_ready_o(load_job_ready),
      .job_memory_i(load_instruction[unzip_isa_pkg::LOAD_MEMORY_LSB+:2]),
      .job_addr_i(load_job_addr),
      .job_offset_i(queue_offset[unzip_isa_pkg::QUEUE_LOAD*32+:32]),
      .job_words_i(load_instruction[unzip_isa_pkg::LOAD_WORDS_LSB+:24]),
      .job_run_i(load_instruction[unzip_isa_pkg::LOAD_RUN_LSB+:24]),
      .job_pitch_i(load_instruction[unzip_isa_pkg::LOAD_PITCH_LSB+:40]),
      .job_dst_base_i(load_instruction[unzip_isa_pkg::LOAD_DST_BASE_LSB+:16]),
      .job_dst_row_i(load_instruction[unzip_isa_pkg::LOAD_DST_ROW_LSB+:12]),
      .job_dst_block_i(load_instruction[unzip_isa_pkg::LOAD_DST_BLOCK_LSB+:16]),
      .job_dst_shift_i(load_instruction[unzip_isa_pkg::LOAD_DST_SHIFT_LSB+:2]),
      .job_dst_bank_i(load_instruction[unzip_isa_pkg::LOAD_DST_BANK_LSB+:BankW]),
      .job_width_i(load_instruction[unzip_isa_pkg::LOAD_WIDTH_LSB+:12]),
      .job_rows_i(load_instruction[unzip_isa_pkg::LOAD_ROWS_LSB+:12]),
      .done_o(load_done),
      .busy_o(load_busy),
      .request_valid_o(request_valid[1]),
      .request_ready_i(request_ready[1]),
      .request_addr_o(load_addr),
      .request_beats_o(load_beats),
      .request_offset_o(load_request_offset),
      .beat_valid_i(beat_valid[1]),
      .beat_last_i(beat_last),
      .beat_data_i(beat_data),
      .beat_offset_o(load_beat_offset),
      .act_valid_o(act_valid),
      .act_ready_i(act_ready),
      .act_bank_o(act_bank),
      .act_addr_o(act_addr),
      .act_data_o(act_data),
      .alpha_we_o(alpha_we),
      .alpha_addr_o(alpha_addr),
      .alpha_data_o(alpha_data),
      .param_we_o(param_we),
      .param_addr_o(param_addr),
      .param_data_o(param_data)
  );

  // ---- Compute queue: three stages -------------------------------------------------------------------
  logic wgen_valid, wgen_ready, wgen_is_list, wgen_is_mark;
  logic mac_valid, mac_ready, mac_is_list, mac_is_mark;
  logic post_valid, post_ready, post_is_list, post_is_mark, compute_error, domain_error;
  logic [511:0] wgen_instruction, mac_instruction, post_instruction;

  unzip_dispatch #(
      .PROJECTOR(PROJECTOR)
  ) u_dispatch (
      .clk_i,
      .rst_ni(rst_n),
      .valid_i(queue_valid[unzip_isa_pkg::QUEUE_COMPUTE] && !halt),
      .ready_o(queue_ready[unzip_isa_pkg::QUEUE_COMPUTE]),
      .instruction_i(queue_instruction[unzip_isa_pkg::QUEUE_COMPUTE*512+:512]),
      .offset_i(queue_offset[unzip_isa_pkg::QUEUE_COMPUTE*32+:32]),
      .opcode_error_o(compute_error),
      .domain_error_o(domain_error),
      .wgen_valid_o(wgen_valid),
      .wgen_ready_i(wgen_ready),
      .wgen_is_list_o(wgen_is_list),
      .wgen_is_mark_o(wgen_is_mark),
      .wgen_mark_id_o(mark_id[unzip_isa_pkg::STAGE_WGEN*16+:16]),
      .wgen_offset_o(head_offset[unzip_isa_pkg::STAGE_WGEN*32+:32]),
      .wgen_instruction_o(wgen_instruction),
      .mac_valid_o(mac_valid),
      .mac_ready_i(mac_ready),
      .mac_is_list_o(mac_is_list),
      .mac_is_mark_o(mac_is_mark),
      .mac_mark_id_o(mark_id[unzip_isa_pkg::STAGE_MAC*16+:16]),
      .mac_offset_o(head_offset[unzip_isa_pkg::STAGE_MAC*32+:32]),
      .mac_instruction_o(mac_instruction),
      .post_valid_o(post_valid),
      .post_ready_i(post_ready),
      .post_is_list_o(post_is_list),
      .post_is_mark_o(post_is_mark),
      .post_mark_id_o(mark_id[unzip_isa_pkg::STAGE_POST*16+:16]),
      .post_offset_o(head_offset[unzip_isa_pkg::STAGE_POST*32+:32]),
      .post_instruction_o(post_instruction)
  );

  logic wgen_job_valid, wgen_job_ready, wgen_done, wgen_busy, code_we;
  logic mac_job_valid, mac_job_ready, mac_done, mac_list_we;
  logic post_job_valid, post_job_ready, post_done, post_busy, residual_we;

  unzip_stage #(
      .TOKENS(Tokens)
  ) u_wgen_stage (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .valid_i(wgen_valid),
      .ready_o(wgen_ready),
      .is_job_i(!wgen_is_mark && !wgen_is_list),
      .is_mark_i(wgen_is_mark),
      .is_list_i(wgen_is_list),
      .wait_i(wgen_instruction[unzip_isa_pkg::COMPUTE_WGEN_WAIT_LSB+:Tokens]),
      .signal_i(wgen_instruction[unzip_isa_pkg::COMPUTE_WGEN_SIGNAL_LSB+:Tokens]),
      .offset_i(head_offset[unzip_isa_pkg::STAGE_WGEN*32+:32]),
      .tokens_i(tokens),
      .take_o(take[unzip_isa_pkg::STAGE_WGEN*Tokens+:Tokens]),
      .give_o(give[unzip_isa_pkg::STAGE_WGEN*Tokens+:Tokens]),
      .done_offset_o(done_offset[unzip_isa_pkg::STAGE_WGEN*32+:32]),
      .job_valid_o(wgen_job_valid),
      .job_ready_i(wgen_job_ready),
      .unit_done_i(wgen_done),
      .unit_busy_i(wgen_busy),
      .mark_valid_o(mark_valid[unzip_isa_pkg::STAGE_WGEN]),
      .mark_ready_i(mark_ready[unzip_isa_pkg::STAGE_WGEN]),
      .list_valid_o(code_we),
      .waits_o(stage_waits[unzip_isa_pkg::STAGE_WGEN]),
      .pending_o(stage_pending[unzip_isa_pkg::STAGE_WGEN]),
      .idle_o(stage_idle[unzip_isa_pkg::STAGE_WGEN])
  );

  unzip_stage #(
      .TOKENS(Tokens)
  ) u_mac_stage (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .valid_i(mac_valid),
      .ready_o(mac_ready),
      .is_job_i(!mac_is_mark && !mac_is_list),
      .is_mark_i(mac_is_mark),
      .is_list_i(mac_is_list),
      .wait_i(mac_instruction[unzip_isa_pkg::COMPUTE_MAC_WAIT_LSB+:Tokens]),
      .signal_i(mac_instruction[unzip_isa_pkg::COMPUTE_MAC_SIGNAL_LSB+:Tokens]),
      .offset_i(head_offset[unzip_isa_pkg::STAGE_MAC*32+:32]),
      .tokens_i(tokens),
      .take_o(take[unzip_isa_pkg::STAGE_MAC*Tokens+:Tokens]),
      .give_o(give[unzip_isa_pkg::STAGE_MAC*Tokens+:Tokens]),
      .done_offset_o(done_offset[unzip_isa_pkg::STAGE_MAC*32+:32]),
      .job_valid_o(mac_job_valid),
      .job_ready_i(mac_job_ready),
      .unit_done_i(mac_done),
      .unit_busy_i(mac_busy),
      .mark_valid_o(mark_valid[unzip_isa_pkg::STAGE_MAC]),
      .mark_ready_i(mark_ready[unzip_isa_pkg::STAGE_MAC]),
      .list_valid_o(mac_list_we),
      .waits_o(stage_waits[unzip_isa_pkg::STAGE_MAC]),
      .pending_o(stage_pending[unzip_isa_pkg::STAGE_MAC]),
      .idle_o(stage_idle[unzip_isa_pkg::STAGE_MAC])
  );

  unzip_stage #(
      .TOKENS(Tokens)
  ) u_post_stage (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .valid_i(post_valid),
      .ready_o(post_ready),
      .is_job_i(!post_is_mark && !post_is_list),
      .is_mark_i(post_is_mark),
      .is_list_i(post_is_list),
      .wait_i(post_instruction[unzip_isa_pkg::COMPUTE_POST_WAIT_LSB+:Tokens]),
      .signal_i(post_instruction[unzip_isa_pkg::COMPUTE_POST_SIGNAL_LSB+:Tokens]),
      .offset_i(head_offset[unzip_isa_pkg::STAGE_POST*32+:32]),
      .tokens_i(tokens),
      .take_o(take[unzip_isa_pkg::STAGE_POST*Tokens+:Tokens]),
      .give_o(give[unzip_isa_pkg::STAGE_POST*Tokens+:Tokens]),
      .done_offset_o(done_offset[unzip_isa_pkg::STAGE_POST*32+:32]),
      .job_valid_o(post_job_valid),
      .job_ready_i(post_job_ready),
      .unit_done_i(post_done),
      .unit_busy_i(post_busy),
      .mark_valid_o(mark_valid[unzip_isa_pkg::STAGE_POST]),
      .mark_ready_i(mark_ready[unzip_isa_pkg::STAGE_POST]),
      .list_valid_o(residual_we),
      .waits_o(stage_waits[unzip_isa_pkg::STAGE_POST]),
      .pending_o(stage_pending[unzip_isa_pkg::STAGE_POST]),
      .idle_o(stage_idle[unzip_isa_pkg::STAGE_POST])
  );

  logic store_read_valid, store_read_ready;
  logic [ BankW-1:0] store_read_bank;
  logic [ ActAw-1:0] store_read_addr;
  logic [T_P*DW-1:0] store_read_data;

  unzip_engine #(
      .T_P(T_P),
      .T_C(T_C),
      .T_R(T_R),
      .S(S),
      .J(J),
      .G(G),
      .D(D),
      .Q(Q),
      .DW(DW),
      .PAIR(PAIR),
      .OPERAND_W(OPERAND_W),
      .N_MAX(N_MAX),
      .CHANNEL_AXIS(CHANNEL_AXIS),
      .PROJECTOR(PROJECTOR),
      .ACT_DEPTH(ACT_DEPTH),
      .ACT_BANKS(ACT_BANKS),
      .ALPHA_DEPTH(ALPHA_DEPTH),
      .PARAM_DEPTH(PARAM_DEPTH),
      .POOL_W(POOL_W)
  ) u_engine (
      .clk_i,
      .rst_ni(rst_n),
      .code_we_i(code_we),
      .code_page_i(wgen_instruction[unzip_isa_pkg::CODES_PAGE_LSB+:2]),
      .code_list_i(wgen_instruction[unzip_isa_pkg::CODES_LIST_LSB+:96]),
      .wgen_valid_i(wgen_job_valid),
      .wgen_ready_o(wgen_job_ready),
      .wgen_instruction_i(wgen_instruction),
      .wgen_done_o(wgen_done),
      .wgen_busy_o(wgen_busy),
      .mac_valid_i(mac_job_valid),
      .mac_ready_o(mac_job_ready),
      .mac_instruction_i(mac_instruction),
      .mac_done_o(mac_done),
      .mac_busy_o(mac_busy),
      .mac_list_we_i(mac_list_we),
      .mac_list_i(mac_instruction[unzip_isa_pkg::CODES_LIST_LSB+:unzip_isa_pkg::CODES_LIST_W]),
      .residual_we_i(residual_we),
      .post_valid_i(post_job_valid),
      .post_ready_o(post_job_ready),
      .post_instruction_i(post_instruction),
      .post_done_o(post_done),
      .post_busy_o(post_busy),
      .load_act_valid_i(act_valid),
      .load_act_ready_o(act_ready),
      .load_act_bank_i(act_bank),
      .load_act_addr_i(act_addr),
      .load_act_data_i(act_data),
      .load_alpha_we_i(alpha_we),
      .load_alpha_addr_i(alpha_addr),
      .load_alpha_data_i(alpha_data),
      .load_param_we_i(param_we),
      .load_param_addr_i(param_addr),
      .load_param_data_i(param_data),
      .store_valid_i(store_read_valid),
      .store_ready_o(store_read_ready),
      .store_bank_i(store_read_bank),
      .store_addr_i(store_read_addr),
      .store_data_o(store_read_data),
      .mac_active_o(mac_active),
      .waits_weights_o(waits_weights),
      .waits_post_o(waits_post),
      .moved_o(engine_moved),
      .conflict_o(conflict)
  );

  // ---- Store queue -----------------------------------------------------------------------------------
  logic [511:0] store_instruction;
  logic [  7:0] store_opcode;
  logic store_known, store_job_valid, store_job_ready, store_done, store_busy;
  logic [2:0] store_base;
  logic [AXI_ADDR_W:0] store_job_addr;

  assign store_instruction = queue_instruction[unzip_isa_pkg::QUEUE_STORE*512+:512];
  assign store_opcode = store_instruction[unzip_isa_pkg::STORE_OPCODE_LSB+:8];
  assign store_known = store_opcode == 8'(unzip_isa_pkg::OPCODE_STORE) ||
      store_opcode == 8'(unzip_isa_pkg::OPCODE_MARK);
  assign mark_id[unzip_isa_pkg::STAGE_STORE*16+:16] =
      store_instruction[unzip_isa_pkg::MARK_ID_LSB+:16];

  unzip_stage #(
      .TOKENS(Tokens)
  ) u_store_stage (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .valid_i(queue_valid[unzip_isa_pkg::QUEUE_STORE] && store_known),
      .ready_o(queue_ready[unzip_isa_pkg::QUEUE_STORE]),
      .is_job_i(store_opcode == 8'(unzip_isa_pkg::OPCODE_STORE)),
      .is_mark_i(store_opcode == 8'(unzip_isa_pkg::OPCODE_MARK)),
      .is_list_i(1'b0),
      .wait_i(store_instruction[unzip_isa_pkg::STORE_WAIT_LSB+:Tokens]),
      .signal_i(store_instruction[unzip_isa_pkg::STORE_SIGNAL_LSB+:Tokens]),
      .offset_i(head_offset[unzip_isa_pkg::STAGE_STORE*32+:32]),
      .tokens_i(tokens),
      .take_o(take[unzip_isa_pkg::STAGE_STORE*Tokens+:Tokens]),
      .give_o(give[unzip_isa_pkg::STAGE_STORE*Tokens+:Tokens]),
      .done_offset_o(done_offset[unzip_isa_pkg::STAGE_STORE*32+:32]),
      .job_valid_o(store_job_valid),
      .job_ready_i(store_job_ready),
      .unit_done_i(store_done),
      .unit_busy_i(store_busy),
      .mark_valid_o(mark_valid[unzip_isa_pkg::STAGE_STORE]),
      .mark_ready_i(mark_ready[unzip_isa_pkg::STAGE_STORE]),
      .list_valid_o(),
      .waits_o(stage_waits[unzip_isa_pkg::STAGE_STORE]),
      .pending_o(stage_pending[unzip_isa_pkg::STAGE_STORE]),
      .idle_o(stage_idle[unzip_isa_pkg::STAGE_STORE])
  );

  assign store_base = store_instruction[unzip_isa_pkg::STORE_BASE_LSB+:3];
  assign store_job_addr = ({1'b0, base_of[store_base*AXI_ADDR_W+:AXI_ADDR_W]} +
      (AXI_ADDR_W + 1)'(store_instruction[unzip_isa_pkg::STORE_OFFSET_LSB+:40])) &
      ~(AXI_ADDR_W + 1)'(63);

  logic write_job_valid, write_job_ready, write_done, wbeat_valid, wbeat_ready;
  logic write_window_error, write_response_error;
  logic [AXI_ADDR_W:0] write_job_addr;
  logic [31:0] write_job_bytes, write_job_offset, write_window_offset, write_response_offset;
  logic [23:0] write_job_words, write_job_run;
  logic [39:0] write_job_pitch;
  logic [AXI_DATA_W-1:0] wbeat_data;
  logic [AXI_DATA_W/8-1:0] wbeat_strobe;

  unzip_store #(
      .T_P(T_P),
      .DW(DW),
      .ACT_BANKS(ACT_BANKS),
      .ACT_DEPTH(ACT_DEPTH),
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W)
  ) u_store (
      .clk_i,
      .rst_ni(rst_n),
      .job_valid_i(store_job_valid),
      .job_ready_o(store_job_ready),
      .job_addr_i(store_job_addr),
      .job_offset_i(queue_offset[unzip_isa_pkg::QUEUE_STORE*32+:32]),
      .job_words_i(store_instruction[unzip_isa_pkg::STORE_WORDS_LSB+:24]),
      .job_run_i(store_instruction[unzip_isa_pkg::STORE_RUN_LSB+:24]),
      .job_pitch_i(store_instruction[unzip_isa_pkg::STORE_PITCH_LSB+:40]),
      .job_src_base_i(store_instruction[unzip_isa_pkg::STORE_SRC_BASE_LSB+:16]),
      .job_src_row_i(store_instruction[unzip_isa_pkg::STORE_SRC_ROW_LSB+:12]),
      .job_src_block_i(store_instruction[unzip_isa_pkg::STORE_SRC_BLOCK_LSB+:16]),
      .job_src_shift_i(store_instruction[unzip_isa_pkg::STORE_SRC_SHIFT_LSB+:2]),
      .job_src_bank_i(store_instruction[unzip_isa_pkg::STORE_SRC_BANK_LSB+:BankW]),
      .job_width_i(store_instruction[unzip_isa_pkg::STORE_WIDTH_LSB+:12]),
      .job_rows_i(store_instruction[unzip_isa_pkg::STORE_ROWS_LSB+:12]),
      .done_o(store_done),
      .busy_o(store_busy),
      .read_valid_o(store_read_valid),
      .read_ready_i(store_read_ready),
      .read_bank_o(store_read_bank),
      .read_addr_o(store_read_addr),
      .read_data_i(store_read_data),
      .write_job_valid_o(write_job_valid),
      .write_job_ready_i(write_job_ready),
      .write_job_addr_o(write_job_addr),
      .write_job_bytes_o(write_job_bytes),
      .write_job_words_o(write_job_words),
      .write_job_run_o(write_job_run),
      .write_job_pitch_o(write_job_pitch),
      .write_job_offset_o(write_job_offset),
      .write_done_i(write_done),
      .beat_valid_o(wbeat_valid),
      .beat_ready_i(wbeat_ready),
      .beat_data_o(wbeat_data),
      .beat_strobe_o(wbeat_strobe)
  );

  unzip_axi_write #(
      .AXI_DATA_W(AXI_DATA_W),
      .AXI_ADDR_W(AXI_ADDR_W),
      .BURST_LEN (BURST_LEN)
  ) u_axi_write (
      .clk_i,
      .rst_ni(rst_n),
      .halt_i(halt),
      .idle_o(write_idle),
      .window_first_i(write_first),
      .window_last_i(write_last),
      .window_error_o(write_window_error),
      .window_offset_o(write_window_offset),
      .response_error_o(write_response_error),
      .response_offset_o(write_response_offset),
      .job_valid_i(write_job_valid),
      .job_ready_o(write_job_ready),
      .job_addr_i(write_job_addr),
      .job_bytes_i(write_job_bytes),
      .job_words_i(write_job_words),
      .job_run_i(write_job_run),
      .job_pitch_i(write_job_pitch),
      .job_offset_i(write_job_offset),
      .done_o(write_done),
      .beat_valid_i(wbeat_valid),
      .beat_ready_o(wbeat_ready),
      .beat_data_i(wbeat_data),
      .beat_strobe_i(wbeat_strobe),
      .written_o(bytes_written),
      .m_axi_awvalid,
      .m_axi_awready,
      .m_axi_awaddr,
      .m_axi_awlen,
      .m_axi_awsize,
      .m_axi_awburst,
      .m_axi_wvalid,
      .m_axi_wready,
      .m_axi_wdata,
      .m_axi_wstrb,
      .m_axi_wlast,
      .m_axi_bvalid,
      .m_axi_bready,
      .m_axi_bresp
  );
  assign m_axi_awid = 1'b0;

  // ---- Watchdog --------------------------------------------------------------------------------------
  // Blamed is the lowest stage whose job waits for a token; else the lowest one that has something to do;
  // else, when instructions do not come, LOAD with the program's address.
  logic moved_q, expired, nothing_to_do;
  logic [Stages-1:0] blocked, blocked_q, first_blocked;
  logic [Stages*32-1:0] blocked_offset;

  always_ff @(posedge clk_i) begin
    moved_q <= (m_axi_arvalid && m_axi_arready) || m_axi_rvalid ||
        (m_axi_awvalid && m_axi_awready) || (m_axi_wvalid && m_axi_wready) || m_axi_bvalid ||
        take != '0 || give != '0 || queue_ready != '0 || wgen_ready || mac_ready || post_ready ||
        mac_active || engine_moved || (act_valid && act_ready) || alpha_we || param_we ||
        (store_read_valid && store_read_ready);
    blocked_q <= blocked;
  end
  assign nothing_to_do = stage_idle == '1;
  assign blocked = stage_waits != '0 ? stage_waits : nothing_to_do ? Stages'(1) : ~stage_idle;
  assign first_blocked = blocked_q & (~blocked_q + 1'b1);

  unzip_watchdog u_watchdog (
      .clk_i,
      .rst_ni,
      .run_i(busy),
      .limit_i(watchdog_limit),
      .moved_i(moved_q),
      .expired_o(expired)
  );

  // The job that waits for a token, else the oldest one of the unit.
  for (genvar s = 0; s < Stages; s++) begin : g_blocked
    assign blocked_offset[s*32+:32] = nothing_to_do ? '0 :
        stage_pending[s] && !stage_waits[s] ? done_offset[s*32+:32] : head_offset[s*32+:32];
  end

  // ---- End of the program, errors --------------------------------------------------------------------
  assign finished = fetch_finished && (&stage_idle) && read_idle && write_idle;

  // The sources of errors, the lowest wins.
  localparam logic [2:0] Load = 3'(unzip_isa_pkg::STAGE_LOAD);
  localparam logic [2:0] Wgen = 3'(unzip_isa_pkg::STAGE_WGEN);
  localparam logic [2:0] Mac = 3'(unzip_isa_pkg::STAGE_MAC);
  localparam logic [2:0] Post = 3'(unzip_isa_pkg::STAGE_POST);
  localparam logic [2:0] Store = 3'(unzip_isa_pkg::STAGE_STORE);

  logic [31:0] load_head, compute_head, store_head;
  assign load_head = queue_offset[unzip_isa_pkg::QUEUE_LOAD*32+:32];
  assign compute_head = queue_offset[unzip_isa_pkg::QUEUE_COMPUTE*32+:32];
  assign store_head = queue_offset[unzip_isa_pkg::QUEUE_STORE*32+:32];

  // The instruction whose job gave the token, or that took it, when the error shows.
  logic [Stages*32-1:0] token_offset_q;
  for (genvar s = 0; s < Stages; s++) begin : g_token_offset
    always_ff @(posedge clk_i) begin
      token_offset_q[s*32+:32] <=
          give[s*Tokens+:Tokens] != '0 ? done_offset[s*32+:32] : head_offset[s*32+:32];
    end
  end

  assign error_events = {
    first_blocked & {Stages{expired}},
    write_response_error,
    beat_error[1],
    write_window_error,
    request_error[1],
    request_error[0],
    token_overflow,
    queue_valid[unzip_isa_pkg::QUEUE_STORE] && !store_known,
    domain_error,
    compute_error,
    queue_valid[unzip_isa_pkg::QUEUE_LOAD] && !load_known,
    build_error,
    header_error,
    fetch_error
  };
  assign error_codes = {
    {Stages{8'(unzip_isa_pkg::ERROR_WATCHDOG)}},
    8'(unzip_isa_pkg::ERROR_WRITE_RESPONSE),
    8'(unzip_isa_pkg::ERROR_READ_RESPONSE),
    8'(unzip_isa_pkg::ERROR_WRITE_WINDOW),
    8'(unzip_isa_pkg::ERROR_READ_WINDOW),
    8'(unzip_isa_pkg::ERROR_READ_WINDOW),
    {Stages{8'(unzip_isa_pkg::ERROR_TOKEN)}},
    8'(unzip_isa_pkg::ERROR_OPCODE),
    8'(unzip_isa_pkg::ERROR_DOMAIN),
    8'(unzip_isa_pkg::ERROR_OPCODE),
    8'(unzip_isa_pkg::ERROR_OPCODE),
    8'(unzip_isa_pkg::ERROR_BUILD),
    8'(unzip_isa_pkg::ERROR_HEADER),
    8'(unzip_isa_pkg::ERROR_READ_RESPONSE)
  };
  assign error_stages = {
    Store,
    Post,
    Mac,
    Wgen,
    Load,
    Store,
    Load,
    Store,
    Load,
    Load,
    Store,
    Post,
    Mac,
    Wgen,
    Load,
    Store,
    Mac,
    Wgen,
    Load,
    Load,
    Load,
    Load
  };
  assign error_offsets = {
    blocked_offset,
    write_response_offset,
    load_beat_offset,
    write_window_offset,
    read_window_offset[63:32],
    read_window_offset[31:0],
    token_offset_q,
    store_head,
    compute_head,
    compute_head,
    load_head,
    32'd0,
    32'd0,
    fetch_error_offset
  };

  logic unused;
  assign unused = m_axi_bid;

endmodule
